"""From a source to clip files and the rows of their index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vist3a.data.candidate_work import Refused, reading
from vist3a.data.checks import Limits
from vist3a.data.clip_store import COLUMNS
from vist3a.data.frame_statistics import frame_statistics, luma, moved_share
from vist3a.data.kept_clips import KeptClip, keep_clip, kept_clip
from vist3a.data.reading import Order, Provenance
from vist3a.data.sources import Source, scan
from vist3a.data.splits import assign_splits
from vist3a.data.unread import Unread
from vist3a.data.world import World
from vist3a.records.clip import Clip
from vist3a.records.clip_shape import ClipShape
from vist3a.records.frame_count import AllowedFrames, any_frames
from vist3a.runtime.workers.settings import HERE, WorkerSettings
from vist3a.runtime.workers.work import Done, Failed, Load, Work
from vist3a.runtime.workers.working import working

BATCH = 4
"""Scenes of a world rendered at once: bounds memory; the result does not depend on it."""


@dataclass(frozen=True)
class Gathered:
    """What a source gave: one row per clip that was written, one (source, reason) per item that was not."""

    rows: tuple[dict[str, Any], ...]
    rejected: tuple[tuple[str, str], ...] = ()

    def index(self, seed: int, selection: float, heldout: float) -> pd.DataFrame:
        """Clip index in the order of the names, with splits assigned."""
        splits = assign_splits([str(row["name"]) for row in self.rows], seed, selection, heldout)
        rows = [
            {**row, "split": splits[str(row["name"])]} for row in sorted(self.rows, key=lambda row: str(row["name"]))
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def quarantine(self) -> pd.DataFrame:
        """Table of the rejected items."""
        return pd.DataFrame(self.rejected, columns=["source", "reason"], dtype="str")


def gather_folder(
    source: Path,
    target: Path,
    shape: ClipShape,
    limits: Limits,
    order: Order = "given",
    allowed: AllowedFrames = any_frames,
    workers: WorkerSettings = HERE,
) -> Gathered:
    """Read, check and write every candidate below ``source``; ``order`` is that of :func:`read_clip`.

    Where a real clip has fewer frames than ``shape`` says, it gets the largest number that is ``allowed``. A file that ends the
    process which reads it costs one candidate, too, where ``workers`` read. Clips that an earlier run has left in ``target`` are
    taken up, by their names.

    Raises:
        ValueError: ``source`` is missing, empty, or nothing in it passes.
    """
    rows: list[dict[str, Any]] = []
    rejected: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    candidates = scan(source)
    load = partial(reading, target, shape, limits, order, allowed)
    for candidate, found in zip(candidates, _read(candidates, target, load, workers), strict=True):
        reason = found.reason if isinstance(found, Refused) else None
        # The same views under two names could land in two splits, and held-out clips would be fitted on.
        if isinstance(found, KeptClip) and found.pixels in seen:
            reason = f"the views are those of {seen[found.pixels]}; each clip is allowed once"
        told = [*([] if reason is None else [reason]), *found.dropped]
        rejected += [(candidate.location, f"{candidate.location}: {sentence}") for sentence in told]
        if isinstance(found, KeptClip) and reason is None:
            seen[found.pixels] = candidate.location
            rows.append(found.row)
    if not rows:
        reasons = "; ".join(reason for _, reason in rejected[:3])
        more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
        raise ValueError(f"source folder {source}: none of {len(candidates)} candidates is usable ({reasons}{more})")
    return Gathered(tuple(rows), tuple(rejected))


def _read(
    candidates: Sequence[Source], target: Path, load: Load[Source, KeptClip | Refused], workers: WorkerSettings
) -> list[KeptClip | Refused]:
    """What comes of every candidate, in their order."""
    # Files that nothing reads may have the name of a clip.
    known = [None if isinstance(one.reader, Unread) else kept_clip(target, one.name) for one in candidates]
    missing = [candidate for candidate, kept in zip(candidates, known, strict=True) if kept is None]
    there = len(candidates) - len(missing)
    with working("read clips", load, missing, workers, total=len(candidates), before=there) as outcomes:
        made = [Refused(outcome.reason) if isinstance(outcome, Failed) else outcome.value for _, outcome in outcomes]
    others = iter(made)
    return [kept if kept is not None else next(others) for kept in known]


def gather_world(
    world: World,
    name: str,
    scenes: int,
    seed: int,
    target: Path,
    shape: ClipShape,
    device: torch.device,
    workers: WorkerSettings = HERE,
) -> Gathered:
    """Render (on ``device``) and write scenes 0 .. ``scenes`` - 1 of a generated world, with cameras and depth.

    ``name`` is what the index calls the world. Scenes that an earlier run has left in ``target`` are taken up.
    """
    known = [kept_clip(target, _scene(number)) for number in range(scenes)]
    missing = [number for number, kept in enumerate(known) if kept is None]
    batches = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
    load = partial(_rendering, world, name, seed, target, shape, device)
    rows = {number: kept.row for number, kept in enumerate(known) if kept is not None}
    there, cuda = scenes - len(missing), device.type == "cuda"
    with working("render scenes", load, batches, workers, total=scenes, before=there, cuda=cuda) as outcomes:
        for batch, outcome in outcomes:
            if isinstance(outcome, Failed):
                raise outcome.error
            rows |= zip(batch, outcome.value, strict=True)
    return Gathered(tuple(rows[number] for number in range(scenes)))


def _rendering(
    world: World, name: str, seed: int, target: Path, shape: ClipShape, device: torch.device
) -> Work[Sequence[int], list[dict[str, Any]]]:
    """What a worker does: render and keep a batch of scenes; gives their rows."""

    def work(numbers: Sequence[int], done: Done) -> list[dict[str, Any]]:
        rows = []
        batch = world.scenes(seed, list(numbers), (shape.height, shape.width), shape.frames, device=device)
        for i, number in enumerate(numbers):
            clip = Clip(_scene(number), batch.rgb[i].cpu(), batch.captions[i], batch.cameras[i], batch.depth[i])
            rows.append(keep_clip(target, clip, _measure(clip, f"{name}/{seed}/{number}")).row)
            done(1)
        return rows

    return work


def _scene(number: int) -> str:
    return f"scene-{number:05d}"


def _measure(clip: Clip, source: str) -> Provenance:
    # On the bytes that will be stored, as real clips are measured.
    grey = luma((clip.frames * 255).round().byte())
    measured = [frame_statistics(view) for view in grey]
    return Provenance(
        source=source,
        first=0,
        stride=1.0,
        sharpness=sum(s.sharpness for s in measured) / len(measured),
        brightness=sum(s.brightness for s in measured) / len(measured),
        motion=moved_share(grey),
    )
