"""From a source to clip files and the rows of their index."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch

from vist3a.data.candidate_work import Read, reading
from vist3a.data.checks import Limits
from vist3a.data.clip_store import COLUMNS, write_clip
from vist3a.data.frame_statistics import frame_statistics, luma, moved_share
from vist3a.data.reading import CheckedClip, Order, Provenance
from vist3a.data.sources import scan
from vist3a.data.splits import assign_splits
from vist3a.data.world import World
from vist3a.records.clip import Clip
from vist3a.records.clip_shape import ClipShape
from vist3a.records.frame_count import AllowedFrames, any_frames
from vist3a.runtime.workers.mapping import mapped
from vist3a.runtime.workers.settings import HERE, WorkerSettings
from vist3a.runtime.workers.work import Done, Failed, Finished, Work

BATCH = 4
"""Scenes of a world rendered at once: bounds memory; the result does not depend on it."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Gathered:
    """What a source gave: one row per clip that was written, one (source, reason) per item that was not."""

    rows: tuple[dict[str, object], ...]
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
    process which reads it costs one candidate, too, where ``workers`` read.

    Raises:
        ValueError: ``source`` is missing, empty, or nothing in it passes.
    """
    rows: list[dict[str, object]] = []
    rejected: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    candidates = scan(source)
    load = partial(reading, shape, limits, order, allowed)
    for candidate, outcome in zip(
        _progress(candidates, "reading clips"), mapped(load, candidates, workers), strict=True
    ):
        found = outcome.value if isinstance(outcome, Finished) else Read(reason=outcome.reason)
        reason = found.reason
        # The same views under two names could land in two splits, and held-out clips would be fitted on.
        if found.pixels in seen:
            reason = f"the views are those of {seen[found.pixels]}; each clip is allowed once"
        told = [*([] if reason is None else [reason]), *found.dropped]
        rejected += [(candidate.location, f"{candidate.location}: {sentence}") for sentence in told]
        if found.checked is not None and reason is None:
            seen[found.pixels] = candidate.location
            rows.append(_write(target, _clip(found.checked), found.checked.provenance))
    if not rows:
        reasons = "; ".join(reason for _, reason in rejected[:3])
        more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
        raise ValueError(f"source folder {source}: none of {len(candidates)} candidates is usable ({reasons}{more})")
    return Gathered(tuple(rows), tuple(rejected))


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

    ``name`` is what the index calls the world.
    """
    batches = [range(start, min(start + BATCH, scenes)) for start in range(0, scenes, BATCH)]
    load, rows = partial(_rendering, world, name, seed, target, shape, device), []
    with closing(mapped(load, batches, workers, cuda=device.type == "cuda")) as outcomes:
        for _, outcome in zip(_progress(batches, "rendering scenes"), outcomes, strict=True):
            if isinstance(outcome, Failed):
                raise outcome.error
            rows += outcome.value
    return Gathered(tuple(rows))


def _rendering(
    world: World, name: str, seed: int, target: Path, shape: ClipShape, device: torch.device
) -> Work[Sequence[int], list[dict[str, object]]]:
    """What a worker does: render and write a batch of scenes; gives their rows."""

    def work(numbers: Sequence[int], done: Done) -> list[dict[str, object]]:
        rows = []
        batch = world.scenes(seed, list(numbers), (shape.height, shape.width), shape.frames, device=device)
        for i, number in enumerate(numbers):
            clip = Clip(f"scene-{number:05d}", batch.rgb[i].cpu(), batch.captions[i], batch.cameras[i], batch.depth[i])
            rows.append(_write(target, clip, _measure(clip, f"{name}/{seed}/{number}")))
        return rows

    return work


def _clip(checked: CheckedClip) -> Clip:
    frames = checked.frames.float() / 255
    return Clip(checked.name, frames, checked.caption, checked.cameras, checked.depth, checked.files)


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


def _write(folder: Path, clip: Clip, provenance: Provenance) -> dict[str, object]:
    path = write_clip(folder, clip)
    views, _, height, width = clip.frames.shape
    row: dict[str, object] = {
        "name": clip.name,
        "caption": clip.caption,
        "frames": views,
        "height": height,
        "width": width,
    }
    return {**row, **asdict(provenance), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, what, console=console, disable=not console.is_terminal, transient=True)
