"""The gradient through a video decoder in a second pass, and of Wan's four frames at a time."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import tiny_generator

from vist3a.generators.base import VideoGenerator
from vist3a.generators.wan import WanGenerator
from vist3a.generators.wan_chunks import decode_by_chunks


@pytest.mark.parametrize("frames", [1, 5, 9, 13, 21])
def test_by_chunks_it_is_that_of_the_whole_clip(frames: int) -> None:
    generator = tiny_generator(5)
    random = torch.Generator().manual_seed(frames)
    latents = 0.3 * torch.randn(2, 4, (frames - 1) // 4 + 1, 3, 4, dtype=torch.float64, generator=random)
    at_frames = torch.randn(2, frames, 3, 24, 32, dtype=torch.float64, generator=random)
    given = latents.clone().requires_grad_(True)
    whole = VideoGenerator.decode(generator, given)
    (expected,) = torch.autograd.grad(whole, given, at_frames)
    found = generator.decode_gradient(latents, at_frames)
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    # Without a graph around it, and leaving none.
    with torch.no_grad():
        assert torch.equal(generator.decode_gradient(latents, at_frames), found)
    assert not found.requires_grad and latents.grad is None


def test_chunks_are_the_clip() -> None:
    generator = tiny_generator(5)
    latents = 0.3 * torch.randn(1, 4, 4, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        video = decode_by_chunks(generator.vae, latents).clamp(-1, 1)
        torch.testing.assert_close((video.transpose(1, 2) + 1) / 2, generator.decode(latents), rtol=0, atol=1e-12)


def test_a_longer_clip_keeps_caches_and_no_more() -> None:
    """What a graph keeps grows by far less per chunk than what the whole graph keeps of it."""

    def kept(generator: WanGenerator, times: int, by_chunks: bool) -> int:
        held = [0]

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            held[0] += tensor.untyped_storage().nbytes()
            return tensor

        latents = torch.zeros(1, 4, times, 4, 4, dtype=torch.float64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            if by_chunks:
                decode_by_chunks(generator.vae, latents)
            else:
                generator.decode(latents)
        return held[0]

    generator = tiny_generator(5)
    grown = {how: kept(generator, 6, how) - kept(generator, 3, how) for how in (False, True)}
    assert grown[True] < 0.6 * grown[False]
