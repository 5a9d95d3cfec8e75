"""Frames by a linear map of the latents, against torch's own least squares."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import tiny_generator

from vist3a.records import Clip
from vist3a.stitching.grids import patches
from vist3a.stitching.linear_frames import fit_linear_frames

CPU = torch.device("cpu")


def clips(count: int) -> list[Clip]:
    random = torch.Generator().manual_seed(0)
    return [Clip(f"c{i}", torch.rand(5, 3, 32, 48, generator=random).double()) for i in range(count)]


def test_the_fit_is_the_least_squares_solution() -> None:
    generator = tiny_generator()
    found = fit_linear_frames(clips(8), generator, (32, 48), CPU, ridge=0.0)
    x, y = [], []
    for clip in clips(8):
        latents = generator.encode(clip.frames[None])
        x.append(patches(latents, found.spec).reshape(-1, 4 * 27))
        frames = generator.decode(latents)[0]
        for view in frames:
            for row in range(4):
                for column in range(6):
                    y.append(view[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].reshape(-1))
    design = torch.cat([torch.cat(x), torch.ones(len(y), 1).double()], dim=1)
    expected = torch.linalg.lstsq(design, torch.stack(y)).solution
    torch.testing.assert_close(found.weight.flatten(1).T.double(), expected[:-1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.bias.double(), expected[-1], rtol=1e-3, atol=1e-4)


def test_other_sizes_and_gradients() -> None:
    generator = tiny_generator()
    found = fit_linear_frames(clips(3), generator, (20, 30), CPU)
    latents = generator.encode(clips(1)[0].frames[None]).float().requires_grad_(True)
    frames = found(latents)
    assert frames.shape == (1, 5, 3, 20, 30)
    assert 0 <= float(frames.detach().min()) <= float(frames.detach().max()) <= 1
    frames.sum().backward()
    assert latents.grad is not None
    assert bool((latents.grad != 0).any())
    with pytest.raises(ValueError, match="no clip to learn frames from"):
        fit_linear_frames([], generator, (20, 30), CPU)
