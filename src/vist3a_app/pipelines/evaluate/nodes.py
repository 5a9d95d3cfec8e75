"""Measures the chain: geometry of the stitched decoder on held-out clips, generation before and after alignment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from vist3a import registry
from vist3a.data.clip_store import ClipStore
from vist3a.data.world import World
from vist3a.metrics.aggregate import paired_differences
from vist3a.metrics.by_kind import figures_by_kind
from vist3a.metrics.direction import load_metrics
from vist3a.metrics.exact_scenes import compare_with_truth
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.runtime.progress import progress
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import output_distances, sequential, stitched
from vist3a.stitching.store import load_fit
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.reward_models import load_reward_models
from vist3a_app.pipelines.aligned import load_adapter
from vist3a_app.pipelines.evaluate.contact_sheet import contact_sheet
from vist3a_app.pipelines.evaluate.films import rows_of_clips
from vist3a_app.pipelines.evaluate.generation import Evaluation, film_report, heldout_prompts
from vist3a_app.pipelines.evaluate.judge import load_judge
from vist3a_app.pipelines.evaluate.params import EvaluateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.stitched import load_decoder


def measure_geometry(
    params: EvaluateParams,
    networks: Networks,
    stitch_layer: Path,
    stitched_decoder: Path,
    clips: Path,
    clip_index: pd.DataFrame,
) -> dict[str, Any]:
    """Distance of every variant to the original network on held-out clips, and of all of them to exact scenes."""
    device = resolve_device(networks.device)
    generator, original = networks.load_generator("vae"), networks.load_reconstruction()
    fit, spec = load_fit(stitch_layer)
    store = ClipStore(clips, clip_index)
    heldout = [store.load(name) for name in store.names("heldout")[: params.clips]]
    variants = {
        "sequential": sequential(original, generator),
        "stitched": stitched(StitchedDecoder(original, spec, fit).to(device), generator),
        "stitched_distilled": stitched(load_decoder(networks, stitched_decoder), generator),
    }
    distances = output_distances(variants, original, heldout, device)
    report: dict[str, Any] = {"clips": len(heldout), "distance_to_original": distances}
    if params.truth is not None:
        world: World = registry.find("worlds", params.world, "evaluate.world")()
        truth, size = params.truth, (params.height, params.width)
        everything = {"original": original.reconstruct, **variants}
        # Made one at a time, as they are compared.
        scenes = (
            world.scenes(truth.seed, [number], size, params.frames, truth.extra_views, device)
            for number in progress(range(truth.scenes), "compare with the truth", truth.scenes)
        )
        report["truth"] = compare_with_truth(everything, scenes, renderer_for(device), truth.seed)
    return report


def measure_clip_films(
    params: EvaluateParams, networks: Networks, clips: Path, clip_index: pd.DataFrame
) -> dict[str, list[float]]:
    """What the original network sees in held-out clips: the films that generated ones are held against."""
    device = resolve_device(networks.device)
    store, original = ClipStore(clips, clip_index), networks.load_reconstruction()
    return rows_of_clips(params, store, original, renderer_for(device), device)


def measure_generation(
    params: EvaluateParams,
    align: AlignParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
    geometry: dict[str, Any],
    clip_films: dict[str, list[float]],
    text_embeddings: Path,
) -> tuple[dict[str, Any], Tensor]:
    """Rewards, verdicts and films before and after alignment, same prompts and noise; the report and a contact sheet."""
    device = resolve_device(networks.device)
    metrics = load_metrics(params.metrics, "evaluate.metrics")
    decoder, render = load_decoder(networks, stitched_decoder), renderer_for(device)
    has_gaussians = decoder.network.has_gaussians
    # The reward as alignment had it, without the judge that watched it.
    scorers = {"reward": load_reward_models(align, has_gaussians, device, networks.known.rewards, watched=False).reward}
    judge = load_judge(params, align, has_gaussians, device, networks.known.rewards)
    scorers |= judge.scores
    prompts, kinds = heldout_prompts(params, align)
    embed, negative = networks.embed(prompts, text_embeddings)
    generator = networks.load_generator("vae", "denoiser")
    evaluation = Evaluation(
        params, decoder, networks.load_reconstruction(), render, scorers, judge, metrics, prompts, embed, negative, device
    )  # fmt: skip
    # One generator for both: only the adapter comes in between, prompts and noise stay.
    before = evaluation.measure(generator)
    load_adapter(networks, generator, aligned_generator, stitched_decoder)
    after = evaluation.measure(generator)
    comparison = paired_differences(before.scores, after.scores, params.seed)
    film = film_report(before, after, clip_films, align.motion_bar, params.seed)
    sheet = contact_sheet(before.pictures, after.pictures, min(params.pictures, len(prompts)))
    report = {"geometry": geometry, "generation": {"prompts": len(prompts), **comparison}, "film": film}
    if kinds is not None and judge.verdict is not None:
        report["kinds"] = figures_by_kind(kinds, before.scores, after.scores)
    return report, sheet
