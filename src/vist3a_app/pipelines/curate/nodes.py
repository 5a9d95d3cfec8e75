"""Thin nodes: gather clips of a source, report them, draw some of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from vist3a import registry
from vist3a.records.clip_shape import ClipShape
from vist3a.runtime.device import resolve_device
from vist3a.runtime.run_folder import listing, run_folder
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a_app.pipelines.curate.params import CurateParams
from vist3a_app.pipelines.workers import Workers

logger = logging.getLogger(__name__)

SHEET_CLIPS = 8
SHEET_VIEWS = 5
MEASURES = ("frames", "stride", "sharpness", "brightness", "motion")


def gather_clips(
    params: CurateParams, family: str, workers: Workers, checkpoints: Path
) -> tuple[Callable[[Path], None], pd.DataFrame, pd.DataFrame]:
    """Function that fills the clip folder, clip index, quarantine; clips are for the generators of a ``family``."""
    from vist3a.data.clip_store import clip_path
    from vist3a.data.curation import gather_folder, gather_world
    from vist3a.generators.frame_rule import allowed_frames
    from vist3a.records.frame_count import check_frames

    allowed = allowed_frames(family)
    check_frames(allowed, params.frames, f"generator {family}", "curate.frames")

    # Clips wait on disk, where all workers see them, until all are known to be good: a failed run leaves the former clips alone.
    state = run_folder(checkpoints, "curate", params.model_dump_json(), family, _content(params))
    shape, chosen = params.part(ClipShape), workers.part(WorkerSettings)
    if params.source in registry.names("worlds"):
        made, world = params.procedural, registry.find("worlds", params.source, "curate.source")()
        device = resolve_device(made.device)
        gathered = gather_world(world, params.source, made.scenes, made.seed, state, shape, device, chosen)
    else:
        gathered = gather_folder(Path(params.source), state, shape, params.checks, params.order, allowed, chosen)
    for _, reason in gathered.rejected:
        logger.warning("quarantined %s", reason)
    index = gathered.index(params.seed, params.splits.selection, params.splits.heldout)

    def fill(folder: Path) -> None:
        for name in index["name"]:
            shutil.copyfile(clip_path(state, name), clip_path(folder, name))
        shutil.rmtree(state, ignore_errors=True)

    return fill, index, gathered.quarantine()


def _content(params: CurateParams) -> str:
    """What a source consists of, as far as names, sizes and times tell; nothing of a world, which is code."""
    from vist3a.data.sources import at_home

    return "" if params.source in registry.names("worlds") else listing(at_home(Path(params.source)))


def report_clips(params: CurateParams, index: pd.DataFrame, quarantine: pd.DataFrame) -> dict[str, Any]:
    """Counts, reasons and mean statistics; nothing that differs between machines or runs."""
    counts = index["split"].value_counts()
    return {
        "source": params.source if params.source in registry.names("worlds") else "folder",
        "clips": len(index),
        "captioned": int((index["caption"] != "").sum()),
        "splits": {split: int(counts.get(split, 0)) for split in ("fit", "selection", "heldout")},
        "quarantined": len(quarantine),
        "reasons": [str(reason) for reason in quarantine["reason"]],
        "mean": {measure: float(index[measure].mean()) for measure in MEASURES},
        "size": [params.height, params.width],
    }


def draw_clips(clips: Path, index: pd.DataFrame) -> Tensor:
    """Contact sheet: one row per clip, evenly spread views."""
    from vist3a.data.clip_store import ClipStore
    from vist3a.export.video import image_sheet

    store = ClipStore(clips, index)
    views = []
    for name in index["name"][:SHEET_CLIPS]:
        frames = store.load(str(name)).frames
        views.append(frames[torch.linspace(0, len(frames) - 1, SHEET_VIEWS).round().long()])
    return image_sheet(torch.cat(views), SHEET_VIEWS)
