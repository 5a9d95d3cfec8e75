"""Moments of many clips, a file for every shard of them: whoever makes the files, their sum is the same.

The clips of a split are cut into shards in their order, and the moments of the shards are added in that order. A killed run goes
on with the shards that are not there; shards may be made by any number of workers; the bits are those of one undisturbed pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from vist3a.data.clip_batches import LoadFrames
from vist3a.stitching.extract import ClipsDone, accumulate, cut
from vist3a.stitching.moments import Moments
from vist3a.stitching.store import save_tensors
from vist3a.stitching.tap import Tap


@dataclass(frozen=True)
class Shard:
    """Clips by their names, and the file of their moments."""

    names: tuple[str, ...]
    file: Path


def shards_of(names: Sequence[str], size: int, folder: Path) -> list[Shard]:
    """Shards of ``size`` clips (the last of what is left), with files in ``folder``; ValueError for no clip at all.

    Example:
        >>> [shard.file.name for shard in shards_of(["a", "b", "c"], 2, Path("fit"))]
        ['shard-00000.safetensors', 'shard-00001.safetensors']
    """
    return [
        Shard(tuple(part), folder / f"shard-{number:05d}.safetensors") for number, part in enumerate(cut(names, size))
    ]


def write_shard(tap: Tap, shard: Shard, load: LoadFrames, *, batch: int, done: ClipsDone = lambda _: None) -> None:
    """Write the file of a shard, whole or not at all; ``batch`` clips go through the networks together."""
    save_tensors(shard.file, accumulate(tap, shard.names, load, batch=batch, done=done).state())


def add_shards(shards: Sequence[Shard], device: torch.device) -> Moments:
    """Moments of all shards, whose files are there, added in their order; one file is in memory at a time."""
    first, *others = shards
    total = Moments.from_state(load_file(first.file, str(device)))
    for shard in others:
        total = total + Moments.from_state(load_file(shard.file, str(device)))
    return total
