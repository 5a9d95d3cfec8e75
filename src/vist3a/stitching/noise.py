"""Noise on latents, as the regression sees it: the covariance that it adds to latent patches, in closed form.

Latents of a generator are never exactly on the autoencoder's manifold, and a fit on clean latents amplifies what is off it.
Independent noise on the latents leaves the cross products with the activations as they are on average, and adds its own
covariance to the products of patches with themselves. So the fit for noisy latents needs no second pass: the moments of clean
ones and this covariance are enough. The noise is stated by its share of the latents' root mean square.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.stitching.grids import StitchSpec, patches


def noise_gram(
    spec: StitchSpec, grid: tuple[int, int, int], variances: Float[Tensor, " channels"]
) -> Float[Tensor, "features features"]:
    """Expected sum over one clip's patches x of x x', for latents of pure noise; float64.

    Cells of the latent ``grid`` (times, rows, columns) are independent, of variance ``variances`` by channel. Resampling and
    padding share cells between the places under a kernel, which therefore are correlated, but they do so along each axis by
    itself: the matrix is a Kronecker product of one small matrix per axis.

    Example:
        >>> spec = derive_spec((8, 8), (8, 8), temporal_stride=4, kernel=(1, 1, 1))
        >>> noise_gram(spec, (1, 8, 8), torch.ones(1))  # 64 patches of one cell each
        tensor([[64.]], dtype=torch.float64)
    """
    time, rows, columns = (_along(spec, axis, cells).to(variances.device) for axis, cells in enumerate(grid))
    # Features are ordered as Conv3d.weight[o].flatten(): channel, time, row, column.
    kernel = torch.kron(torch.kron(time, rows), columns)
    return torch.kron(torch.diag(variances), kernel)


def _along(spec: StitchSpec, axis: int, cells: int) -> Float[Tensor, "kernel kernel"]:
    """The factor of one axis: what an impulse in each cell leaves under the kernel, over all places of the kernel."""
    own = StitchSpec(
        kernel=_only(spec.kernel, axis, 1),
        stride=_only(spec.stride, axis, 1),
        padding=_only(spec.padding, axis, 0),
        padding_mode=spec.padding_mode,
        resampled_rows=spec.resampled_rows if axis == 1 else 1,
        resampled_columns=spec.resampled_columns if axis == 2 else 1,
        temporal_stride=spec.temporal_stride if axis == 0 else 1,
        interpolation=spec.interpolation,
    )
    # A batch of clips, each with a one in another cell.
    shape = [cells, 1, 1, 1, 1]
    shape[2 + axis] = cells
    impulses = torch.eye(cells, dtype=torch.float64).reshape(shape)
    # Rows are all impulses at all places of the kernel: their products sum over both.
    seen = patches(impulses, own).flatten(0, 3)
    return seen.T @ seen


def _only(values: tuple[int, int, int], axis: int, other: int) -> tuple[int, int, int]:
    """``values`` along ``axis``, ``other`` along the other two."""
    first, second, third = (value if place == axis else other for place, value in enumerate(values))
    return first, second, third
