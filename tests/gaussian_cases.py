"""Random Gaussians for the tests of formats, and a comparison that knows that q and -q are one rotation."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Gaussians


def some_gaussians(bands: int, count: int = 30, seed: int = 0, spread: float = 1.0) -> Gaussians:
    """Means around the origin, log-normal scales around exp(-4), opacities away from 0 and 1, DC colours in [0, 1]."""
    g = torch.Generator().manual_seed(1000 * bands + seed)
    harmonics = 0.25 * torch.randn(1, count, bands, 3, generator=g).clamp(-3, 3)
    harmonics[:, :, 0] = (torch.rand(1, count, 3, generator=g) - 0.5) / 0.28209479
    return Gaussians(
        means=spread * torch.randn(1, count, 3, generator=g),
        scales=torch.exp(torch.randn(1, count, 3, generator=g) - 4),
        rotations=torch.nn.functional.normalize(torch.randn(1, count, 4, generator=g), dim=-1),
        opacities=0.01 + 0.98 * torch.rand(1, count, generator=g),
        harmonics=harmonics,
    )


@st.composite
def gaussian_sets(draw: st.DrawFn, degrees: tuple[int, ...] = (0, 1, 2, 3)) -> Gaussians:
    """Sets of 1 to 40 Gaussians, from tiny to huge scenes."""
    degree = draw(st.sampled_from(degrees))
    count, seed = draw(st.integers(1, 40)), draw(st.integers(0, 2**16))
    return some_gaussians((degree + 1) ** 2, count, seed, 10.0 ** draw(st.floats(-2, 4)))


def covariances(gaussians: Gaussians) -> torch.Tensor:
    """[n, 3, 3] of the first set."""
    axes = rotation_from_quaternion(gaussians.rotations[0].double()) * gaussians.scales[0].double()[:, None]
    return axes @ axes.transpose(1, 2)


def assert_same_rotations(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    """Whatever the sign of the quaternions."""
    assert (1 - (a * b).sum(-1).abs()).abs().max() <= tolerance
