"""The last step that all renderers share: accumulated colour and depth to a :class:`Rendering`."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vist3a.records import Cameras, Gaussians, Rendering

ALPHA_EPSILON = 1e-10
"""Depth is divided by at least this opacity (gsplat's expected depth does the same)."""


def finish(
    color: Float[Tensor, "batch views height width 3"],
    depth: Float[Tensor, "batch views height width"],
    alpha: Float[Tensor, "batch views height width"],
    background: Float[Tensor, " 3"] | None,
) -> Rendering:
    """Put the accumulated colour over the background (white when None), divide the accumulated depth by alpha."""
    backdrop = color.new_ones(3) if background is None else background.to(color)
    rgb = color + (1 - alpha)[..., None] * backdrop
    return Rendering(rgb.movedim(-1, -3), depth / alpha.clamp(min=ALPHA_EPSILON), alpha)


def check_inputs(gaussians: Gaussians, cameras: Cameras, size: tuple[int, int]) -> None:
    """Refuse inputs that do not belong together, in one sentence."""
    poses = cameras.world_to_camera
    if poses.ndim != 4:
        raise ValueError(f"cameras of a rendering have the batch axes (batch, views), not {tuple(poses.shape[:-2])}")
    if poses.shape[0] != gaussians.means.shape[0]:
        raise ValueError(f"{gaussians.means.shape[0]} Gaussian sets cannot be seen by {poses.shape[0]} sets of cameras")
    if min(size) < 1:
        raise ValueError(f"image size (height, width) must be positive, not {size}")
