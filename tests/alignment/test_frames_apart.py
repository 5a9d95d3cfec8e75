"""Frames whose graph is taken apart give the gradient of the whole; renderings a few views at a time are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_alignment import PROMPTS, decoder
from tiny_networks import tiny_generator, tiny_network
from torch import Tensor

from vist3a.alignment.decoded_views import decode_views
from vist3a.alignment.frames_apart import FramesApart
from vist3a.records import Cameras, Gaussians, Rendering
from vist3a.rendering.cpu import CpuRenderer

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "beside": lambda latents, frames: (latents**3).sum(),
    "through": lambda latents, frames: (frames**2).mean(),
    "both": lambda latents, frames: (frames**2).mean() + 0.1 * (latents**3).sum(),
}


def some_latents(seed: int) -> Tensor:
    made = torch.randn(2, 4, 2, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made.requires_grad_()


@pytest.mark.parametrize("way", LOSSES)
def test_the_gradient_is_that_of_the_whole_graph(way: str) -> None:
    generator = tiny_generator().requires_grad_(False)
    apart = FramesApart(generator)
    for seed in (0, 1):
        latents = some_latents(seed)
        frames = generator.decode(generator.denormalise(latents))
        (wanted,) = torch.autograd.grad(LOSSES[way](latents, frames), latents)
        again = apart(generator.denormalise(latents))
        assert again.is_leaf and torch.equal(again, frames)
        found = apart.gradient(LOSSES[way](latents, again), latents)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        assert not found.requires_grad
    # Of a loss for which nothing was decoded, and without the frames of the time before.
    (wanted,) = torch.autograd.grad((latents**3).sum(), latents)
    assert torch.equal(apart.gradient((latents**3).sum(), latents), wanted)


def test_the_gradient_is_found_where_nobody_records_one() -> None:
    generator = tiny_generator().requires_grad_(False)
    apart, latents = FramesApart(generator), some_latents(2)
    loss = (apart(generator.denormalise(latents)) ** 2).mean()
    with torch.no_grad():
        found = apart.gradient(loss, latents)
    (wanted,) = torch.autograd.grad((generator.decode(generator.denormalise(latents)) ** 2).mean(), latents)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("at_once", [None, 1, 2, 5])
def test_so_many_views_are_rendered_at_once(at_once: int | None) -> None:
    torch.manual_seed(0)
    generator, stitched = tiny_generator().requires_grad_(False), decoder(tiny_network()).requires_grad_(False)
    draw, seen = CpuRenderer(), []

    def counted(gaussians: Gaussians, cameras: Cameras, size: tuple[int, int], *rest: Any) -> Rendering:
        seen.append(cameras.world_to_camera.shape[1])
        # Of much more contrast than can be shown.
        drawn = draw(gaussians, cameras, size, *rest)
        return Rendering(20 * drawn.rgb - 10, drawn.depth, drawn.alpha)

    chosen, latents = torch.tensor([4, 0, 3]), some_latents(3)
    views, scene = decode_views(
        generator, stitched, counted, latents, PROMPTS[:2], chosen, ("rendered",), at_once=at_once
    )
    assert seen == {None: [3], 1: [1, 1, 1], 2: [2, 1], 5: [3]}[at_once]
    assert scene.gaussians is not None
    whole = (20 * draw(scene.gaussians, scene.cameras, (16, 16)).rgb - 10).clamp(0, 1)[:, chosen]
    torch.testing.assert_close(views.images("rendered"), whole, rtol=1e-9, atol=1e-12)
    assert (whole == 1).any() and (whole == 0).any()
    found, wanted = (
        torch.autograd.grad((one**2).mean(), latents, retain_graph=True)[0] for one in (views.images("rendered"), whole)
    )
    assert float(wanted.norm()) > 1e-9
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-12)


def test_frames_are_made_by_what_was_given_and_of_all_views_that_are_shown() -> None:
    torch.manual_seed(0)
    generator, stitched = tiny_generator().requires_grad_(False), decoder(tiny_network()).requires_grad_(False)
    latents = some_latents(4)

    def decode(raw: Tensor) -> Tensor:
        return 1 - generator.decode(raw)

    views, _ = decode_views(
        generator, stitched, CpuRenderer(), latents, PROMPTS[:2], torch.tensor([1, 2]), ("decoded",), decode=decode
    )
    wanted = stitched.network.fit(1 - generator.decode(generator.denormalise(latents)))[:, [1, 2]]
    torch.testing.assert_close(views.images("decoded"), wanted)
    assert views.rendered is None
