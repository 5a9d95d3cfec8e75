"""Latents of training clips: those of a plain encoding, made once, whichever clips a step draws together."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import tiny_generator

from vist3a.alignment.clip_latents import ClipLatents
from vist3a.records import Clip

CPU = torch.device("cpu")


def test_every_clip_is_encoded_once_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = tiny_generator()
    clips = [Clip(f"c{n}", torch.rand(5 + 4 * n, 3, 16, 16).double()) for n in range(3)]
    encode, encoded = generator.encode, []

    def counted(frames: torch.Tensor) -> torch.Tensor:
        encoded.append(tuple(frames.shape[:2]))
        return encode(frames)

    monkeypatch.setattr(generator, "encode", counted)
    latents = ClipLatents(generator, clips)
    found = latents([2, 0, 2], 5, CPU)
    assert encoded == [(1, 5), (1, 5)]
    frames = torch.stack([clips[n].frames[:5] for n in (2, 0, 2)])
    torch.testing.assert_close(found, generator.normalise(encode(frames)), rtol=1e-12, atol=1e-12)
    assert torch.equal(latents([0, 1], 5, CPU)[0], found[1])
    assert torch.equal(latents([1, 2], 9, CPU)[1], latents([2], 9, CPU)[0])
    assert encoded[2:] == [(1, 5), (1, 9), (1, 9)]
    assert not found.requires_grad
