"""Random scenes for the renderer tests."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Cameras, Gaussians, Rendering

SIZE = (37, 45)
"""Not a multiple of any tile, and not square."""


def random_gaussians(
    seed: int, batch: int = 2, count: int = 120, bands: int = 4, dtype: torch.dtype = torch.float64
) -> Gaussians:
    """Gaussians of very different sizes and opacities, some outside the view, behind the camera or invisible."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)

    means = uniform(batch, count, 3, low=-1.5, high=1.5)
    means[..., 2] = uniform(batch, count, low=-1.0, high=6.0)
    scales = torch.exp(uniform(batch, count, 3, low=-5.0, high=-0.7))
    rotations = torch.randn(batch, count, 4, generator=g, dtype=torch.float64)
    opacities = uniform(batch, count, low=0.0, high=1.0)
    opacities[:, ::10] = 1.0
    opacities[:, 1::10] = 0.002
    harmonics = 0.4 * torch.randn(batch, count, bands, 3, generator=g, dtype=torch.float64)
    return Gaussians(means, scales, rotations, opacities, harmonics).to(dtype=dtype)


def random_cameras(
    seed: int, batch: int = 2, views: int = 2, size: tuple[int, int] = SIZE, dtype: torch.dtype = torch.float64
) -> Cameras:
    """Cameras near the origin that look roughly along z; unequal focal lengths, principal point off centre."""
    g = torch.Generator().manual_seed(1000 + seed)
    noise = torch.randn(batch, views, 4, generator=g, dtype=torch.float64)
    shift = 0.2 * torch.randn(batch, views, 3, generator=g, dtype=torch.float64)
    return cameras_from_motion(torch.cat([0.1 * noise[..., 1:], shift], -1), size).to(dtype=dtype)


def cameras_from_motion(motion: Tensor, size: tuple[int, int] = SIZE) -> Cameras:
    """Rigid cameras of (rotation, translation) six-vectors, so that gradients stay on rigid motions."""
    quaternion = torch.cat([torch.ones_like(motion[..., :1]), motion[..., :3]], -1)
    top = torch.cat([rotation_from_quaternion(quaternion), motion[..., 3:, None]], -1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=motion.dtype, device=motion.device)
    pose = torch.cat([top, bottom.expand(*motion.shape[:-1], 1, 4)], -2)
    height, width = size
    k = [[0.9 * width, 0.0, 0.47 * width], [0.0, 1.1 * height, 0.55 * height], [0.0, 0.0, 1.0]]
    intrinsics = torch.tensor(k, dtype=motion.dtype, device=motion.device)
    return Cameras(pose, intrinsics.expand(*motion.shape[:-1], 3, 3))


def leaves(gaussians: Gaussians) -> Gaussians:
    """The same Gaussians as leaves that collect gradients."""
    return Gaussians(*(getattr(gaussians, f.name).detach().clone().requires_grad_() for f in fields(gaussians)))


def weighted_loss(rendering: Rendering, seed: int = 0) -> Tensor:
    """A scalar that hears every output with its own random weight."""
    g = torch.Generator().manual_seed(seed)
    outputs = (rendering.rgb, rendering.depth, rendering.alpha)
    weights = [torch.randn(o.shape, generator=g, dtype=torch.float64).to(o) for o in outputs]
    return sum((w * o).sum() for w, o in zip(weights, outputs, strict=True))  # type: ignore[return-value]


def gradients(renderer, gaussians, motion, size=SIZE, background=None):  # type: ignore[no-untyped-def]
    """Rendering and the gradients of :func:`weighted_loss` in every attribute and in the camera motion."""
    tracked, motion = leaves(gaussians), motion.detach().clone().requires_grad_()
    rendering = renderer(tracked, cameras_from_motion(motion, size), size, background)
    weighted_loss(rendering).backward()
    result = {f.name: getattr(tracked, f.name).grad for f in fields(tracked)}
    return rendering, {**result, "motion": motion.grad}
