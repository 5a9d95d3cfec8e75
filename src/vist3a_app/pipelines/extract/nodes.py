"""Clips -> streaming moments of (latent patches, activations)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.data.clip_store import ClipStore
from vist3a.runtime.run_folder import run_folder
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.stitching.shards import add_shards, shards_of
from vist3a.stitching.store import save_moments
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.extract.shard_work import load_tap, loading, make_shards
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.workers import Workers

SPLITS = ("fit", "selection")
"""The held-out clips are left to the score pipeline."""


def extract_moments(
    params: ExtractParams,
    networks: Networks,
    workers: Workers,
    clips: Path,
    clip_index: pd.DataFrame,
    checkpoints: Path,
) -> tuple[Callable[[Path], None], dict[str, Any]]:
    """Moments per split for all points of the chosen kinds, and a report of what was seen."""
    store, chosen = ClipStore(clips, clip_index), workers.part(WorkerSettings)
    tap = load_tap(params, networks, store)
    settings, device = tap.settings, tap.device
    # A folder of weights may change under the same name: its bytes count, too.
    state = run_folder(
        checkpoints, "extract", params.model_dump_json(), networks.model_dump_json(), clip_index.to_json(),
        *networks.local_weights(),
    )  # fmt: skip
    shards = {split: shards_of(store.names(split)[: params.clips], params.shard, state / split) for split in SPLITS}
    load = loading(tap, params, networks, store, chosen)
    # Workers have networks of their own: these would only take their room.
    del tap
    make_shards(load, [shard for split in SPLITS for shard in shards[split]], chosen, device)
    splits = {split: add_shards(shards[split], device) for split in SPLITS}
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
