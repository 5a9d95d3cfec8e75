"""Clips of the shifted worlds to distill on: pictures and captions, with neither cameras nor depth."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import torch

from vist3a.data.clip_store import COLUMNS, write_clip
from vist3a.data.splits import assign_splits
from vist3a.records.clip import Clip
from vist3a.records.clip_shape import ClipShape
from vist3a.runtime.progress import progress
from vist3a_lab.procedural import WorldConfig
from vist3a_lab.procedural.shifted import SHIFTS, make_shifted

INDEX = "index.parquet"
"""Beside the clips."""


def write_shifted(
    folder: Path, like: pd.DataFrame, scenes_seed: int, splits_seed: int, shape: ClipShape, device: torch.device
) -> None:
    """As many clips as the index ``like`` has, with its shares of splits, of all shifted worlds in turn; and their index."""
    count = len(like)
    shares = like["split"].value_counts() / count
    world, shifts = WorldConfig(scenes_seed, shape.frames, height=shape.height, width=shape.width), [*SHIFTS.values()]
    rows = []
    for number in progress(range(count), "render shifted worlds", count):
        scene, frames = make_shifted(world, [number], shifts[number % len(shifts)], device=device)
        clip = Clip(f"scene-{number:05d}", frames[0], scene.captions[0])
        path = write_clip(folder, clip)
        rows.append(
            {
                "name": clip.name, "source": f"shifted/{scenes_seed}/{number}", "caption": clip.caption, "frames": shape.frames,
                "height": shape.height, "width": shape.width, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
        )  # fmt: skip
    index = pd.DataFrame(rows, columns=list(COLUMNS))
    given = (float(shares.get(split, 0.0)) for split in ("selection", "heldout"))
    index["split"] = index["name"].map(assign_splits([str(name) for name in index["name"]], splits_seed, *given))
    index.to_parquet(folder / INDEX)


def read_shifted(folder: Path) -> pd.DataFrame:
    """The index of :func:`write_shifted`."""
    return pd.read_parquet(folder / INDEX)
