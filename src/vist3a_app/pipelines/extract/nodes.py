"""Clips -> streaming moments of (latent patches, activations)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.data.clip_store import ClipStore
from vist3a.runtime.progress import counting
from vist3a.runtime.run_folder import run_folder
from vist3a.stitching.extract import TapConfig, accumulate, tap_settings
from vist3a.stitching.store import save_moments
from vist3a.stitching.tap import Tap
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.networks import Networks

SPLITS = ("fit", "selection")
"""The held-out clips are left to the score pipeline."""


def extract_moments(
    params: ExtractParams, networks: Networks, clips: Path, clip_index: pd.DataFrame, checkpoints: Path
) -> tuple[Callable[[Path], None], dict[str, Any]]:
    """Moments per split for all points of the chosen kinds, and a report of what was seen."""
    generator, network = networks.load_generator("vae"), networks.load_reconstruction()
    store = ClipStore(clips, clip_index)
    height, width = store.load_frames(store.names("fit")[0]).shape[-2:]
    points = network.points_of(params.kinds)
    settings = tap_settings(generator, network, points, (height, width), params.part(TapConfig))
    # A folder of weights may change under the same name: its bytes count, too.
    state = run_folder(
        checkpoints, "extract", params.model_dump_json(), networks.model_dump_json(), clip_index.to_json(),
        *networks.local_weights(),
    )  # fmt: skip
    tap = Tap(generator, network, settings)
    splits = {}
    for split in SPLITS:
        names = store.names(split)[: params.clips]
        with counting(f"extract {split}", len(names)) as done:
            splits[split] = accumulate(
                tap, names, store.load_frames, batch=params.batch, shard=params.shard, state=state / split, done=done
            )
    spec = asdict(settings.spec)
    report = {
        "clips": {split: len(store.names(split)[: params.clips]) for split in SPLITS},
        "tokens": {split: int(moments.count.sum()) for split, moments in splits.items()},
        "latent_features": splits["fit"].gram.shape[0],
        "points": {
            point.name: {"kind": point.kind, "width": point.width, "complete": point.complete}
            for point in settings.points
        },
        "stitch_layer": {
            "kernel": spec["kernel"],
            "stride": spec["stride"],
            "padding": spec["padding"],
            "mode": spec["padding_mode"],
            "cells": [spec["resampled_rows"], spec["resampled_columns"]],
            "interpolation": spec["interpolation"],
        },
    }

    def save(folder: Path) -> None:
        save_moments(folder, splits, settings)
        shutil.rmtree(state, ignore_errors=True)

    return save, report
