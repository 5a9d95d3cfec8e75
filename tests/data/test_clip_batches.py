"""Batches keep the order, wait in bounded number, and hand over what their loading thread raises."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from vist3a.data.clip_batches import clip_batches, in_background

CPU = torch.device("cpu")


def clip(views: int = 2, fill: int = 0) -> torch.Tensor:
    return torch.full((views, 3, 4, 6), fill, dtype=torch.uint8)


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "clip-loader"]


def test_batches_are_cut_where_clips_differ() -> None:
    clips = {"a": clip(2, 1), "b": clip(2, 2), "c": clip(2, 3), "d": clip(5, 4), "e": clip(2, 5)}
    batches = list(clip_batches(list(clips), clips.__getitem__, 2, CPU))
    assert [batch.names for batch in batches] == [("a", "b"), ("c",), ("d",), ("e",)]
    for batch in batches:
        assert torch.equal(batch.frames, torch.stack([clips[name] for name in batch.names]))
    seen = batches[0].on(CPU)
    assert seen.dtype == torch.float32
    assert torch.equal(seen[1], clips["b"].float() / 255)


def test_the_producer_is_only_so_far_ahead() -> None:
    made: list[int] = []

    def produce() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    taken = []
    for item in in_background(produce(), ahead=2):
        taken.append(item)
        # In the queue, and one that waits to be put there.
        assert len(made) <= len(taken) + 3
    assert taken == list(range(20))


def test_an_error_comes_after_what_was_good() -> None:
    def load(name: str) -> torch.Tensor:
        if name == "bad":
            raise ValueError("clip file bad is missing")
        return clip()

    batches = clip_batches(["a", "b", "bad", "c"], load, 2, CPU)
    assert next(batches).names == ("a", "b")
    with pytest.raises(ValueError, match="clip file bad is missing"):
        next(batches)
    assert loaders() == []


def test_the_thread_ends_with_the_iterator() -> None:
    batches = clip_batches([str(i) for i in range(100)], lambda _: clip(), 1, CPU)
    next(batches)
    assert len(loaders()) == 1
    batches.close()  # type: ignore[attr-defined]
    assert loaders() == []
