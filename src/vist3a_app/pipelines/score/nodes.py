"""Moments and held-out clips -> scores of all points, the chosen stitch layer, a table, a picture and a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.data.clip_store import ClipStore
from vist3a.records import StitchFit
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.runtime.progress import counting
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import output_distances, stitched
from vist3a.stitching.layer_search import search_moments
from vist3a.stitching.search import check_choice, lead, rank
from vist3a.stitching.store import load_moments, load_settings, save_fit
from vist3a.stitching.tap import Tap
from vist3a_app.pages.charts import layer_curve, png
from vist3a_app.pages.score_page import score_page
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.score.params import ScoreParams


def score_layers(
    params: ScoreParams, networks: Networks, moments: Path, clips: Path, clip_index: pd.DataFrame
) -> tuple[dict[str, Any], dict[str, StitchFit], pd.DataFrame]:
    """Scores, fits of all points, and the table."""
    splits, settings = load_moments(moments, resolve_device(networks.device))
    check_choice(settings.points, params.point)
    tap = Tap(networks.load_generator("vae"), networks.load_reconstruction(), settings)
    store = ClipStore(clips, clip_index)
    names = store.names("heldout")[: params.clips]
    with counting("score heldout", len(names)) as done:
        found = search_moments(
            tap, splits["fit"], splits["selection"], names, store.load_frames, ridges=params.ridges, bias=params.bias,
            noise=params.latent_noise, batch=params.batch, seed=params.seed, done=done,
        )  # fmt: skip
    scores = found.scores
    best, reason = found.choose(params.point)
    # A report that is read back has its keys sorted: the index keeps the network's order.
    described = {
        score.point: {"index": i, **{k: v for k, v in asdict(score).items() if k != "point"}}
        for i, score in enumerate(scores)
    }
    complete = [score.point for score in scores if score.complete]
    report = {
        "points": described,
        "ranking": [score.point for score in sorted(scores, key=rank, reverse=True)],
        "scenes": len(names),
        "chosen": best.point,
        "reason": reason,
        "lead": lead(found.heldout, best.point, complete, params.seed),
        "bias": params.bias,
        "latent_noise": params.latent_noise,
        "under_noise": {f"{share:g}": values for share, values in found.under_noise().items()},
    }
    return report, {name: one.layer for name, one in found.solved.items()}, found.table()


def compare_outputs(
    params: ScoreParams,
    networks: Networks,
    scores: dict[str, Any],
    fits: dict[str, StitchFit],
    moments: Path,
    clips: Path,
    clip_index: pd.DataFrame,
) -> tuple[dict[str, Any], Callable[[Path], None], Any, str]:
    """Adds the functional error of the best points; the report, the chosen stitch layer, the curve and the page."""
    settings = load_settings(moments)
    device = resolve_device(networks.device)
    candidates = [name for name in scores["ranking"] if scores["points"][name]["complete"]][: params.functional_points]
    functional: dict[str, dict[str, float]] = {}
    if params.functional_clips and candidates:
        generator, original = networks.load_generator("vae"), networks.load_reconstruction()
        store, render = ClipStore(clips, clip_index), renderer_for(device)
        seen = [store.load(name) for name in store.names("heldout")[: params.functional_clips]]
        # All decoders share the original network: nothing is trained here, and each adds its layer alone.
        decoders = {name: StitchedDecoder(original, settings.spec, fits[name]).to(device) for name in candidates}
        variants = {name: stitched(decoder, generator) for name, decoder in decoders.items()}
        functional = output_distances(variants, original, seen, device, render)
    chosen = fits[scores["chosen"]]
    report = {**scores, "functional_error": functional}
    curve = layer_curve(report)
    return report, lambda folder: save_fit(folder, chosen, settings.spec), curve, score_page(report, png(curve))
