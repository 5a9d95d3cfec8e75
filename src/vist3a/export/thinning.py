"""Fewer Gaussians or points: by opacity, to a budget, or one per voxel."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.geometry.quaternion import quaternion_from_rotation, rotation_from_quaternion
from vist3a.records import Cameras, Gaussians


def prune(
    gaussians: Gaussians,
    *,
    min_opacity: float = 0.0,
    max_gaussians: int | None = None,
    cameras: Cameras | None = None,
) -> Gaussians:
    """One set (a batch of one) without what is hardly seen; the order of the rest stays.

    Those below ``min_opacity`` go first. Of the rest, ``max_gaussians`` with the largest :func:`footprint` stay.
    """
    if max_gaussians is not None and max_gaussians < 1:
        raise ValueError(f"max_gaussians must be at least 1, not {max_gaussians}")
    kept = torch.nonzero(gaussians.opacities[0] >= min_opacity)[:, 0]
    if max_gaussians is not None:
        size = footprint(gaussians, cameras)[kept]
        order = torch.argsort(size, descending=True, stable=True)[:max_gaussians]
        kept = kept[order.sort().values]
    return gaussians.select(0, kept)


def footprint(gaussians: Gaussians, cameras: Cameras | None = None) -> Float[Tensor, " n"]:
    """Opacity times the largest cross-section of the ellipsoid, as seen from the nearest of ``cameras`` (one batch axis)."""
    scales = gaussians.scales[0].sort(dim=-1, descending=True).values
    area = gaussians.opacities[0] * scales[:, 0] * scales[:, 1]
    if cameras is None:
        return area
    distance = torch.cdist(gaussians.means[0], cameras.centers.to(gaussians.means)).amin(1)
    # What is seen of an area falls with the square of the distance.
    return area / distance.clamp(min=1e-6).square()


def fuse_voxels(gaussians: Gaussians, voxel_size: float) -> Gaussians:
    """One Gaussian per occupied voxel (a batch of one): mass, mean and covariance of each group are kept.

    The mass of a Gaussian is its opacity; harmonics are averages by mass, and the opacity of the new one is that of all of its
    group behind each other, 1 - prod(1 - o).
    """
    index, count = _voxels(gaussians.means[0], voxel_size)
    g = gaussians.to(dtype=torch.float64)
    opacity, means = g.opacities[0], g.means[0]
    # Weights add up to one in every voxel, also where all of its Gaussians are transparent.
    weight = opacity.clamp(min=1e-12)
    weight = weight / _sums(weight[:, None], index, count)[index, 0]
    mean = _sums(weight[:, None] * means, index, count)
    axes = rotation_from_quaternion(g.rotations[0]) * g.scales[0][:, None]
    apart = means - mean[index]
    # Covariance of a mixture: that within the Gaussians plus that of their means.
    spread = axes @ axes.transpose(1, 2) + apart[:, :, None] * apart[:, None, :]
    covariance = _sums(weight[:, None] * spread.flatten(1), index, count).unflatten(1, (3, 3))
    variances, directions = torch.linalg.eigh(covariance)
    # Columns of a rotation: of the two senses of the last axis, the right-handed one.
    directions[:, :, 2] *= torch.linalg.det(directions).sign()[:, None]
    harmonics = _sums(weight[:, None] * g.harmonics[0].flatten(1), index, count)
    # The light that passes all of a group, as a sum of logarithms.
    passed = _sums(torch.log1p(-opacity)[:, None], index, count)[:, 0]
    fused = Gaussians(
        means=mean[None],
        scales=variances.clamp(min=0).sqrt()[None],
        rotations=quaternion_from_rotation(directions)[None],
        opacities=-torch.expm1(passed)[None],
        harmonics=harmonics.unflatten(1, gaussians.harmonics.shape[2:])[None],
    )
    return fused.to(dtype=gaussians.means.dtype)


def fuse_points(
    points: Float[Tensor, "n 3"], colors: Float[Tensor, "n 3"], confidence: Float[Tensor, " n"], voxel_size: float
) -> tuple[Float[Tensor, "m 3"], Float[Tensor, "m 3"], Float[Tensor, " m"]]:
    """One point per occupied voxel: means of place and colour by confidence, and the highest confidence."""
    index, count = _voxels(points, voxel_size)
    weight = confidence.clamp(min=1e-12)
    weight = (weight / _sums(weight[:, None], index, count)[index, 0])[:, None]
    highest = confidence.new_full((count,), -torch.inf).scatter_reduce(0, index, confidence, "amax")
    return _sums(weight * points, index, count), _sums(weight * colors, index, count), highest


def _voxels(points: Float[Tensor, "n 3"], voxel_size: float) -> tuple[Int[Tensor, " n"], int]:
    """Number of each point's voxel, and how many are occupied."""
    if voxel_size <= 0:
        raise ValueError(f"voxel_size must be positive, not {voxel_size}")
    cells = torch.floor(points.double() / voxel_size).long()
    found, index = torch.unique(cells, dim=0, return_inverse=True)
    return index, len(found)


def _sums(values: Float[Tensor, "n width"], index: Int[Tensor, " n"], count: int) -> Float[Tensor, "count width"]:
    return values.new_zeros(count, values.shape[1]).index_add(0, index, values)
