"""Batches of clips, loaded by a thread while the batch before is worked on.

A thread is enough: reading and hashing a stored clip leave the interpreter free, and ``load`` may be any function. torch's
DataLoader was slower (``benchmarks/clip_loading.py``: clips of full size beside 2.40 s of work, two cores). It took 3.42 s
without worker processes, because nothing is loaded during the work, and 2.76 s with one, because processes are started for every
shard and clips are copied between them. The thread takes 2.57 s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Full, Queue
from typing import TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

Item = TypeVar("Item")
LoadFrames = Callable[[str], Tensor]
"""Name of a clip to its frames, uint8 [views, 3, height, width] in host memory."""

AHEAD = 2
"""Batches that wait at most; with the one in work and the one being loaded, that bounds host memory."""
_PATIENCE = 0.1


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one length and size; frames are in host memory, page-locked where they go to a GPU."""

    names: tuple[str, ...]
    frames: UInt8[Tensor, "batch views 3 height width"]

    def on(self, device: torch.device) -> Tensor:
        """RGB in [0, 1], float32, on ``device``; the copy does not hold up the host."""
        # Bytes cross to the device, a quarter of what floats would take.
        return self.frames.to(device, non_blocking=True).float() / 255


def clip_batches(
    names: Sequence[str], load: LoadFrames, batch: int, device: torch.device, ahead: int = AHEAD
) -> Iterator[ClipBatch]:
    """The named clips in their order, at most ``batch`` at a time; clips of another length or size begin a new batch."""
    pin = device.type == "cuda"

    def pack(pending: list[tuple[str, Tensor]]) -> ClipBatch:
        frames = torch.stack([frames for _, frames in pending])
        return ClipBatch(tuple(name for name, _ in pending), frames.pin_memory() if pin else frames)

    def batches() -> Iterator[ClipBatch]:
        pending: list[tuple[str, Tensor]] = []
        for name in names:
            frames = load(name)
            # Clips of unequal length or size cannot be stacked; the order is kept, so a short batch ends here.
            if pending and frames.shape != pending[0][1].shape:
                yield pack(pending)
                pending = []
            pending.append((name, frames))
            if len(pending) == batch:
                yield pack(pending)
                pending = []
        if pending:
            yield pack(pending)

    return in_background(batches(), ahead)


def in_background(items: Iterable[Item], ahead: int) -> Iterator[Item]:
    """The same items in the same order, produced by a thread that is at most ``ahead`` of them ahead.

    What the producer raises is raised here, at its place in the order; the thread ends when this iterator is closed.
    """
    queue: Queue[tuple[bool, Item | BaseException | None]] = Queue(ahead)
    closed = threading.Event()

    def put(entry: tuple[bool, Item | BaseException | None]) -> bool:
        while not closed.is_set():
            try:
                # Never for long: a consumer that has closed the iterator takes nothing more.
                queue.put(entry, timeout=_PATIENCE)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
        except BaseException as error:  # handed over whatever it is: the consumer decides
            put((False, error))
        else:
            put((False, None))

    thread = threading.Thread(target=produce, name="clip-loader", daemon=True)
    thread.start()
    try:
        while True:
            more, value = queue.get()
            if more:
                yield value  # type: ignore[misc]
            elif isinstance(value, BaseException):
                raise value
            else:
                return
    finally:
        # Else a producer in front of a full queue would never end.
        closed.set()
        thread.join()
