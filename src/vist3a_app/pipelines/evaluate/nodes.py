"""Measures the chain: geometry of the stitched decoder on held-out clips, generation before and after alignment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from vist3a import registry
from vist3a.data.clip_store import ClipStore
from vist3a.data.world import World
from vist3a.metrics.aggregate import paired_differences
from vist3a.metrics.by_kind import VERDICTS, figures_by_kind
from vist3a.metrics.exact_scenes import compare_with_truth
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.runtime.progress import progress
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import output_distances, sequential, stitched
from vist3a.stitching.store import load_fit
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.evaluate.block_work import Asked, measure_states, state_folder
from vist3a_app.pipelines.evaluate.contact_sheet import contact_sheet
from vist3a_app.pipelines.evaluate.films import rows_of_clips
from vist3a_app.pipelines.evaluate.generation import film_report, heldout_prompts
from vist3a_app.pipelines.evaluate.params import EvaluateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.stitched import load_decoder
from vist3a_app.pipelines.workers import Workers


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
    workers: Workers,
    stitched_decoder: Path,
    aligned_generator: Path,
    geometry: dict[str, Any],
    clip_films: dict[str, list[float]],
    text_embeddings: Path,
    checkpoints: Path,
) -> tuple[dict[str, Any], Tensor]:
    """Rewards, verdicts and films before and after alignment, same prompts and noise; the report and a contact sheet."""
    chosen = workers.part(WorkerSettings)
    prompts, kinds = heldout_prompts(params, align)
    embed, negative = networks.embed(prompts, text_embeddings, chosen)
    asked = Asked(params, align, networks, stitched_decoder, aligned_generator, prompts, embed, negative.to("cpu"))
    state = state_folder(asked, embed.files.identity, checkpoints)
    found = measure_states(asked, state, chosen)
    before, after = found.before, found.after
    comparison = paired_differences(before.scores, after.scores, params.seed)
    film = film_report(before, after, clip_films, align.motion_bar, params.seed)
    sheet = contact_sheet(before.pictures, after.pictures, len(before.pictures))
    report = {"geometry": geometry, "generation": {"prompts": len(found.places), **comparison}, "film": film}
    if kinds is not None and any(name.startswith(VERDICTS) for name in before.scores):
        report["kinds"] = figures_by_kind([kinds[place] for place in found.places], before.scores, after.scores)
    if found.quarantined:
        report["quarantined"] = found.quarantined
    shutil.rmtree(state, ignore_errors=True)
    return report, sheet
