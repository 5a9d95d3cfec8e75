"""Moments -> scores of all points, the chosen stitch layer, a table and a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.engine.device import resolve_device
from vist3a.export.charts import layer_curve
from vist3a.pipelines.networks import Networks
from vist3a.pipelines.score.params import ScoreParams
from vist3a.records import StitchFit
from vist3a.scenes.clip_store import ClipStore
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import output_distance, stitched
from vist3a.stitching.search import choose, score_points
from vist3a.stitching.store import load_moments, save_fit


def score_layers(params: ScoreParams, moments: Path) -> tuple[dict[str, Any], dict[str, StitchFit], pd.DataFrame]:
    """Scores, fits of all points, and the table."""
    splits, spec, points, grid = load_moments(moments)
    results = score_points(
        splits["fit"], splits["selection"], splits["heldout"], points, spec, grid, params.ridges, params.bias
    )
    best, reason = choose([score for score, _ in results], params.point)
    scores = {
        score.point: {"index": i, **{k: v for k, v in asdict(score).items() if k != "point"}}
        for i, (score, _) in enumerate(results)
    }
    table = pd.DataFrame([asdict(score) for score, _ in results])
    ranking = sorted(scores, key=lambda name: -scores[name]["r2_heldout"])
    report = {"points": scores, "ranking": ranking, "chosen": best.point, "reason": reason, "bias": params.bias}
    return report, {fit.point: fit for _, fit in results}, table


def compare_outputs(
    params: ScoreParams,
    networks: Networks,
    scores: dict[str, Any],
    fits: dict[str, StitchFit],
    moments: Path,
    clips: Path,
    clip_index: pd.DataFrame,
) -> tuple[dict[str, Any], Callable[[Path], None], Any]:
    """Adds the functional error of the best points; the report, the chosen stitch layer, and the curve."""
    _, spec, _, _ = load_moments(moments)
    device = resolve_device(networks.device)
    candidates = [name for name in scores["ranking"] if scores["points"][name]["complete"]][: params.functional_points]
    functional = {}
    if params.functional_clips and candidates:
        generator, original = networks.load_generator("vae"), networks.load_reconstruction()
        store = ClipStore(clips, clip_index)
        seen = [store.load(name) for name in store.names("heldout")[: params.functional_clips]]
        for name in candidates:
            decoder = StitchedDecoder(original, spec, fits[name]).to(device)
            functional[name] = output_distance(stitched(decoder, generator), original, seen, device)
    chosen = fits[scores["chosen"]]
    report = {**scores, "functional_error": functional}
    return report, lambda folder: save_fit(folder, chosen, spec), layer_curve(report)
