"""Loading clips of full size: one thread of ours, or torch's DataLoader with worker processes.

    python benchmarks/clip_loading.py [--clips 48] [--batch 4] [--work 0.2]

Clips of 13 frames of 512 px are read, checked against their hashes and cut into batches, while a device is busy with the batch
before (``--work`` seconds, during which the host is idle). The figure to compare with is that of the work alone. Every way has to
give the same bytes in the same order.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader

from vist3a.data.clip_batches import clip_batches
from vist3a.data.clip_store import COLUMNS, ClipStore, write_clip
from vist3a.records import Clip

VIEWS, SIDE = 13, 512
WORKERS = (0, 1, 2)


class StoredFrames(torch.utils.data.Dataset[torch.Tensor]):
    """Frames of a store by number."""

    def __init__(self, store: ClipStore, names: list[str]) -> None:
        self.store, self.names = store, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.store.load_frames(self.names[index])


def make_store(folder: Path, clips: int) -> ClipStore:
    """Clips of noise, and their index."""
    rows = []
    for number in range(clips):
        frames = torch.rand(VIEWS, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(number))
        path = write_clip(folder, Clip(f"clip{number}", frames))
        row = dict.fromkeys(COLUMNS, 0)
        rows.append(row | {"name": path.stem, "split": "fit", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()})
    return ClipStore(folder, pd.DataFrame(rows))


def by_thread(store: ClipStore, batch: int) -> Iterator[torch.Tensor]:
    """As extraction does."""
    for clips in clip_batches(store.names("fit"), store.load_frames, batch, torch.device("cpu")):
        yield clips.frames


def by_loader(store: ClipStore, batch: int, workers: int) -> Iterator[torch.Tensor]:
    """By torch's DataLoader."""
    yield from DataLoader(StoredFrames(store, store.names("fit")), batch_size=batch, num_workers=workers)


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--work", type=float, default=0.2, help="seconds that the device is busy with a batch")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), chosen.clips)
        work = -(-chosen.clips // chosen.batch) * chosen.work
        print(f"work alone {work:.2f} s")
        seen = set()
        for workers in (None, *WORKERS):
            ways = by_thread(store, chosen.batch) if workers is None else by_loader(store, chosen.batch, workers)
            digest, first, begun = hashlib.sha256(), 0.0, time.perf_counter()
            for frames in ways:
                first = first or time.perf_counter() - begun
                # A row of every picture, so that the check costs next to nothing.
                digest.update(frames[..., 0, :].contiguous().numpy())
                time.sleep(chosen.work)
            seen.add(digest.hexdigest())
            name = "our thread" if workers is None else f"DataLoader, {workers} worker processes"
            print(f"{name:32} first batch {first:.3f} s, all {time.perf_counter() - begun:.2f} s")
    print("the same bytes in the same order" if len(seen) == 1 else "the ways differ")
    return len(seen) - 1


if __name__ == "__main__":
    sys.exit(main())
