"""How a video stands as a film of one place: does it re-render, does its camera move, does its light flicker?

All three are read by a 3D network from decoded frames, so a generator is judged by a network that it was not aligned with. They
belong together: a standing camera re-renders well by itself, so a gain in re-rendering counts only at equal motion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.networks.base import ReconstructionModel
from vist3a.records import Cameras
from vist3a.rendering.base import Renderer


@dataclass(frozen=True)
class FilmFigures:
    """Figures of a batch of videos, one number each.

    ``rerender`` (dB): renderings of a network's own Gaussians at its own cameras against the frames it was given. ``motion``:
    see :func:`motion`. ``flicker``: see :func:`flicker`.
    """

    rerender: Float[Tensor, " batch"]
    motion: Float[Tensor, " batch"]
    flicker: Float[Tensor, " batch"]


def motion(cameras: Cameras, depth: Float[Tensor, "batch views height width"]) -> Float[Tensor, " batch"]:
    """Length of the camera's path over the median depth: 0 for a standing camera; no unit.

    Example:
        >>> motion(scene.cameras, scene.depth)  # doctest: +SKIP
        tensor([0.31])
    """
    path = cameras.centers.diff(dim=1).norm(dim=-1).sum(1)
    return path / depth.flatten(1).median(dim=1).values


def flicker(frames: Float[Tensor, "batch views 3 height width"]) -> Float[Tensor, " batch"]:
    """Root mean square of the second difference of the frames' mean color over time, in units of brightness.

    A color that changes steadily along a path (second difference 0) is no flicker. Needs three frames: ValueError.
    """
    if frames.shape[1] < 3:
        raise ValueError(f"flicker needs at least 3 frames, found {frames.shape[1]}")
    return frames.mean((-2, -1)).diff(n=2, dim=1).square().mean((1, 2)).sqrt()


@torch.no_grad()
def film_figures(
    network: ReconstructionModel, render: Renderer, frames: Float[Tensor, "batch views 3 height width"]
) -> FilmFigures:
    """Figures of videos in [0, 1] by a 3D network with Gaussians; ValueError for one without."""
    if not network.has_gaussians:
        raise ValueError("re-rendering needs a 3D network with a Gaussian head, and this one has none")
    frames = network.fit(frames)
    scene = network.reconstruct(frames)
    assert scene.gaussians is not None
    size = (frames.shape[-2], frames.shape[-1])
    rendered = render(scene.gaussians, scene.cameras, size).rgb.clamp(0, 1)
    # The mean over all pixels of a video, then dB: one spoiled view cannot hide among good ones.
    error = (rendered - frames).square().mean((1, 2, 3, 4)).clamp(min=1e-10)
    return FilmFigures(-10 * torch.log10(error), motion(scene.cameras, scene.depth), flicker(frames))
