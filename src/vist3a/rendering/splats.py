"""3D Gaussians to 2D splats for the CPU rasteriser: projection and colour in torch, differentiable, culled first.

Everything is laid out attribute-major (``[3, n]`` rather than ``[n, 3]``), which keeps each elementwise operation on
one contiguous row; formulas as in :mod:`vist3a.rendering.reference`, from which they are written independently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.geometry.spherical_harmonics import color_from_harmonics
from vist3a.records import Cameras, Gaussians
from vist3a.rendering.base import ALPHA_MIN, DILATION, NEAR_PLANE

SPLAT_ROWS = 10
"""Rows of a splat table: pixel x, y; inverse covariance xx, xy, yy; opacity; red, green, blue; z-depth."""
REACH = 3.33
"""Standard deviations beyond which even an opaque Gaussian stays below ALPHA_MIN (sqrt(2 ln 255) = 3.329)."""


class _TakeColumns(torch.autograd.Function):
    """``table[:, index]`` for indices without repetition, so that the backward is a plain copy."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.columns = table.shape[1]
        return table.index_select(1, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        grad = grads[0]
        return grad.new_zeros(grad.shape[0], ctx.columns).index_copy_(1, index, grad), None


class _TakeRows(torch.autograd.Function):
    """``table[index]`` for indices without repetition."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = table.shape
        return table.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.shape).index_copy_(0, index, grads[0]), None


@dataclass(frozen=True)
class Scene:
    """One set of Gaussians in the layout of this module, shared by all views; only those that can be seen at all."""

    table: Float[Tensor, "13 n"]
    """Mean (3), world covariance (3 x 3, row-major), opacity."""
    harmonics: Float[Tensor, "n bands 3"]
    spread: Float[Tensor, " n"]
    """Largest standard deviation, without gradient."""


def prepare_scene(gaussians: Gaussians, scene: int) -> Scene:
    """World covariances of one scene; Gaussians too transparent to be drawn are dropped, whatever else they hold."""
    visible = (gaussians.opacities[scene] >= ALPHA_MIN) & (gaussians.rotations[scene].detach().square().sum(-1) > 0)
    index = visible.nonzero()[:, 0]
    rotations = rotation_from_quaternion(_TakeRows.apply(gaussians.rotations[scene], index))
    scales = _TakeRows.apply(gaussians.scales[scene], index)
    axes = rotations.movedim(0, -1).contiguous() * scales.T.contiguous()
    # R S S^T R^T of all Gaussians at once, as nine rows.
    covariance = (axes[:, None] * axes[None, :]).sum(2).flatten(0, 1)
    means = _TakeRows.apply(gaussians.means[scene], index).T
    opacities = _TakeRows.apply(gaussians.opacities[scene], index)[None]
    return Scene(
        table=torch.cat([means, covariance, opacities]),
        harmonics=_TakeRows.apply(gaussians.harmonics[scene], index),
        spread=scales.detach().abs().amax(-1),
    )


def project_splats(scene: Scene, camera: Cameras, size: tuple[int, int]) -> Float[Tensor, "10 n"]:
    """Splats of the Gaussians that may touch the image, in the order of the scene (rows: see SPLAT_ROWS)."""
    index = _may_touch(scene, camera, size).nonzero()[:, 0]
    table = _TakeColumns.apply(scene.table, index)
    rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3:]
    focal, center, low, high = _frame(camera, size)

    local = rotation @ table[:3] + translation
    z = local[2]
    slope = local[:2] / z
    # Rows of (Jacobian of the projection) @ rotation, each [3, n].
    seen = torch.minimum(torch.maximum(slope, low), high)
    row_x = (focal[0] / z) * (rotation[0][:, None] - seen[0] * rotation[2][:, None])
    row_y = (focal[1] / z) * (rotation[1][:, None] - seen[1] * rotation[2][:, None])
    covariance = table[3:12].unflatten(0, (3, 3))
    # J W Sigma W^T J^T, one entry of the symmetric 2 x 2 matrix after the other.
    turned_x, turned_y = (covariance * row_x).sum(1), (covariance * row_y).sum(1)
    xx = (row_x * turned_x).sum(0) + DILATION
    xy = (row_y * turned_x).sum(0)
    yy = (row_y * turned_y).sum(0) + DILATION
    determinant = xx * yy - xy * xy
    # Rounding can make a needle's determinant vanish; such splats are not drawn (gsplat), and must not divide by zero.
    regular = determinant > 0
    inverse = torch.where(regular, determinant, torch.ones_like(determinant)).reciprocal()
    opacity = torch.where(regular, table[12], torch.zeros_like(z))

    directions = table[:3] - camera.centers[:, None]
    color = color_from_harmonics(_TakeRows.apply(scene.harmonics, index), directions.T).T
    conic = torch.stack([yy * inverse, -xy * inverse, xx * inverse, opacity])
    return torch.cat([slope * focal + center, conic, color, z[None]])


def _frame(camera: Cameras, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Focal lengths, principal point and the slopes between which Jacobians are taken; each ``[2, 1]``, no gradient."""
    intrinsics = camera.intrinsics.detach()
    focal, center = torch.diagonal(intrinsics)[:2, None], intrinsics[:2, 2:]
    extent = torch.tensor([[size[1]], [size[0]]], dtype=focal.dtype)
    # As in the reference: a frame 30 % wider than the image.
    margin = 0.3 * 0.5 * extent / focal
    return focal, center, -center / focal - margin, (extent - center) / focal + margin


@torch.no_grad()
def _may_touch(scene: Scene, camera: Cameras, size: tuple[int, int]) -> Bool[Tensor, " n"]:
    """In front of the camera and, judged by a bounding ball, not clearly outside the image."""
    focal, center, low, high = _frame(camera, size)
    local = camera.world_to_camera[:3, :3] @ scene.table[:3] + camera.world_to_camera[:3, 3:]
    z = local[2]
    slope = local[:2] / z
    pixel = slope * focal + center
    # The Jacobian's rows have squared norm (f / z)^2 (1 + slope^2), so no splat is wider than its Gaussian's ball.
    stretch = (focal / z) ** 2 * (1 + torch.minimum(torch.maximum(slope, low), high) ** 2)
    # A pixel and a thousandth more, for rounding.
    reach = 1 + 1.001 * REACH * (stretch * scene.spread**2 + DILATION).sqrt()
    extent = torch.tensor([[size[1]], [size[0]]], dtype=z.dtype)
    inside = ((pixel + reach > 0) & (pixel - reach < extent)).all(0)
    return inside & (z >= NEAR_PLANE)


def depth_order(splats: Float[Tensor, "10 n"]) -> Int[Tensor, " n"]:
    """Front to back; equal depths keep the order of the scene."""
    return torch.sort(splats[9].detach(), stable=True).indices
