"""Fusion of per-pixel points into one point per occupied voxel."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def voxel_index(cells: Int[Tensor, "n 3"]) -> Int[Tensor, " n"]:
    """Rank of each cell among the distinct cells in lexicographic order (x, then y, then z).

    Coordinates are ranked before they are combined: a far outlier then cannot overflow a packed key.
    """
    rank = torch.unique(cells[:, 0], return_inverse=True)[1]
    for axis in (1, 2):
        values, inverse = torch.unique(cells[:, axis], return_inverse=True)
        rank = torch.unique(rank * len(values) + inverse, return_inverse=True)[1]
    return rank


def voxelize(
    points: Float[Tensor, "n 3"],
    features: Float[Tensor, "n channels"],
    confidence: Float[Tensor, " n"],
    voxel_size: float,
) -> tuple[Float[Tensor, "voxels 3"], Float[Tensor, "voxels channels"]]:
    """Mean points and features per voxel, weighted by the softmax of ``confidence`` inside the voxel.

    A point belongs to the voxel of the nearest multiple of ``voxel_size`` (ties to even); voxels come sorted
    by x, then y, then z.
    """
    # Which voxel it is has no gradient; what is averaged there has.
    index = voxel_index(torch.round(points.detach() / voxel_size).long())
    count = int(index.max()) + 1
    # The subtracted maximum cancels in the quotient, so it needs no gradient.
    peak = confidence.new_full((count,), -torch.inf).scatter_reduce(0, index, confidence.detach(), "amax")
    weight = torch.exp(confidence - peak[index])
    # The peak weighs 1, so that the published 1e-6 only lowers the sum a little.
    weight = weight / (weight.new_zeros(count).index_add(0, index, weight)[index] + 1e-6)

    def gather(values: Tensor) -> Tensor:
        total = values.new_zeros(count, values.shape[1])
        return total.index_add(0, index, values * weight[:, None])

    return gather(points), gather(features)
