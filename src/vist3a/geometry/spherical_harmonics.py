"""Real spherical harmonics up to degree 4, in the order and with the signs of the 3D Gaussian splatting formats.

The polynomials are those of P.-P. Sloan, "Efficient Spherical Harmonic Evaluation", JCGT 2 (2), 2013, orthonormal on
the unit sphere; coefficient ``l * l + l + m`` belongs to degree ``l`` and order ``m`` in ``-l .. l``.
"""

from __future__ import annotations

from math import isqrt, pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MAX_DEGREE = 4
BAND_ZERO = 0.28209479177387814
"""The constant basis function, 1 / (2 sqrt(pi))."""
QUADRATURES = tuple([part.tolist() for part in np.polynomial.legendre.leggauss(n)] for n in range(1, MAX_DEGREE + 2))
"""By degree: nodes and weights of the Gauss-Legendre quadrature that is exact for products of two such functions."""


def degree_of_bands(bands: int) -> int:
    """Degree of a coefficient count: 1, 4, 9, 16, 25 -> 0 .. 4."""
    degree = isqrt(bands) - 1
    if bands < 1 or (degree + 1) ** 2 != bands or degree > MAX_DEGREE:
        raise ValueError(f"spherical harmonics have 1, 4, 9, 16 or 25 bands, not {bands}")
    return degree


def harmonics_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch bands"]:
    """Values of the (degree + 1)^2 basis functions for unit directions."""
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, BAND_ZERO)]
    if degree >= 1:
        basis += [-0.48860251190292 * y, 0.48860251190292 * z, -0.48860251190292 * x]
    if degree >= 2:
        z2 = z * z
        # Cosine and sine of m times the azimuth, times sin(polar)^m; higher orders follow by the sums of angles.
        cos2, sin2 = x * x - y * y, 2 * x * y
        basis += [
            0.5462742152960395 * sin2,
            -1.092548430592079 * y * z,
            0.9461746957575601 * z2 - 0.3153915652525201,
            -1.092548430592079 * x * z,
            0.5462742152960395 * cos2,
        ]
    if degree >= 3:
        cos3, sin3 = x * cos2 - y * sin2, x * sin2 + y * cos2
        ring = -2.285228997322329 * z2 + 0.4570457994644658
        basis += [
            -0.5900435899266435 * sin3,
            1.445305721320277 * z * sin2,
            ring * y,
            z * (1.865881662950577 * z2 - 1.119528997770346),
            ring * x,
            1.445305721320277 * z * cos2,
            -0.5900435899266435 * cos3,
        ]
    if degree >= 4:
        cos4, sin4 = x * cos3 - y * sin3, x * sin3 + y * cos3
        ring = z * (-4.683325804901025 * z2 + 2.007139630671868)
        inner = 3.31161143515146 * z2 - 0.47308734787878
        basis += [
            0.6258357354491763 * sin4,
            -1.770130769779931 * z * sin3,
            inner * sin2,
            ring * y,
            z2 * (3.702494142032152 * z2 - 3.1735664074561294) + 0.3173566407456129,
            ring * x,
            inner * cos2,
            -1.770130769779931 * z * cos3,
            0.6258357354491763 * cos4,
        ]
    return torch.stack(basis, dim=-1)


def harmonics_rotation(rotation: Float[Tensor, "*batch 3 3"], degree: int) -> Float[Tensor, "*batch bands bands"]:
    """Matrices that turn coefficients: with them a function's value at ``rotation @ d`` is the old one at ``d``.

    Inner products of the basis with the turned basis, by a quadrature (Gauss-Legendre in z, uniform around it) that is
    exact for products of two functions of ``degree``; in float64, returned in the dtype of ``rotation``.
    """
    nodes, weights = (torch.tensor(part, dtype=torch.float64, device=rotation.device) for part in QUADRATURES[degree])
    # Products of two functions have azimuthal orders up to 2 * degree, for which so many points are exact.
    around = 2 * degree + 1
    angle = torch.arange(around, device=rotation.device, dtype=torch.float64) * (2 * pi / around)
    radius = (1 - nodes * nodes).sqrt()[:, None]
    z = nodes[:, None].expand(-1, around)
    directions = torch.stack([radius * angle.cos(), radius * angle.sin(), z], dim=-1).flatten(0, 1)
    # The weights of the quadrature go with one side of the inner products.
    basis = harmonics_basis(directions, degree) * (weights.repeat_interleave(around) * (2 * pi / around))[:, None]
    # Rows times a matrix: every direction turned back.
    turned = harmonics_basis(directions @ rotation.double(), degree)
    return (basis.T @ turned).to(rotation.dtype)


def color_from_harmonics(
    harmonics: Float[Tensor, "*batch bands 3"], directions: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3"]:
    """RGB seen along ``directions`` (camera centre to mean, any length > 0): 0.5 + sum of harmonics, clamped at 0."""
    degree = degree_of_bands(harmonics.shape[-2])
    # Clamped under the root, whose slope is then finite: a camera at a mean gives no NaN.
    length = directions.square().sum(-1, keepdim=True).clamp(min=1e-24).sqrt()
    basis = harmonics_basis(directions / length, degree)
    return ((basis[..., None] * harmonics).sum(-2) + 0.5).clamp(min=0.0)


def harmonics_from_color(color: Float[Tensor, "*batch 3"], bands: int = 1) -> Float[Tensor, "*batch bands 3"]:
    """Coefficients of a colour that looks the same from everywhere."""
    degree_of_bands(bands)
    constant = ((color - 0.5) / BAND_ZERO)[..., None, :]
    return torch.cat([constant, constant.new_zeros(*color.shape[:-1], bands - 1, 3)], dim=-2)
