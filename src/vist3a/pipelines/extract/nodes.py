"""Clips -> streaming moments of (latent patches, activations)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.engine.device import resolve_device
from vist3a.pipelines.extract.params import ExtractParams
from vist3a.pipelines.networks import Networks
from vist3a.scenes.clip_store import ClipStore
from vist3a.stitching.extract import accumulate, spec_for
from vist3a.stitching.store import save_moments
from vist3a.training.progress import progress

SPLITS = ("fit", "selection", "heldout")


def extract_moments(
    params: ExtractParams, networks: Networks, clips: Path, clip_index: pd.DataFrame
) -> tuple[Callable[[Path], None], dict[str, Any]]:
    """Moments per split for all points of the chosen kinds, and a report of what was seen."""
    device = resolve_device(networks.device)
    generator, network = networks.load_generator("vae"), networks.load_reconstruction()
    store = ClipStore(clips, clip_index)
    first = store.load(store.names("fit")[0])
    size = (first.frames.shape[-2], first.frames.shape[-1])
    points = [point for point in network.stitch_points if point.kind in params.kinds]
    names = [point.name for point in points]
    spec = spec_for(generator, network, size, params.kernel, params.padding_mode)
    seed = params.seed if params.latents == "sample" else None
    splits = {
        split: accumulate(
            progress((store.load(name) for name in store.names(split)), f"extract {split}", len(store.names(split))),
            generator,
            network,
            names,
            spec,
            device,
            seed,
        )
        for split in SPLITS
    }
    grid = network.token_grid(*network.frame_size(*size))
    report = {
        "clips": {split: len(store.names(split)) for split in SPLITS},
        "tokens": {split: int(moments.count.sum()) for split, moments in splits.items()},
        "latent_features": spec.kernel[0] * spec.kernel[1] * spec.kernel[2] * generator.channels,
        "points": {
            point.name: {"kind": point.kind, "width": point.width, "complete": point.complete} for point in points
        },
        "stitch_layer": {
            "kernel": spec.kernel,
            "stride": spec.stride,
            "padding": spec.padding,
            "mode": spec.padding_mode,
        },
    }
    return lambda folder: save_moments(folder, splits, spec, points, grid), report
