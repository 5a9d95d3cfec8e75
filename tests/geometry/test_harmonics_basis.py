"""Order, signs and scale of the harmonics, and the colours that are made of them, against scipy's in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from vist3a.geometry.spherical_harmonics import (
    BAND_ZERO,
    color_from_harmonics,
    degree_of_bands,
    harmonics_basis,
    harmonics_from_color,
    harmonics_rotation,
)


def directions(count: int = 50) -> torch.Tensor:
    """Unit vectors."""
    random = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(random, dim=-1)


def real_harmonic(degree: int, order: int, unit: np.ndarray) -> np.ndarray:
    """From the complex ones, with the Condon-Shortley phase, as in Sloan's appendix and the files of 3D Gaussian splatting."""
    polar, around = np.arccos(unit[:, 2]), np.arctan2(unit[:, 1], unit[:, 0])
    value = sph_harm_y(degree, abs(order), polar, around)
    if order < 0:
        return math.sqrt(2) * value.imag
    return math.sqrt(2) * value.real if order else value.real


@pytest.mark.parametrize("degree", range(5))
def test_the_basis_is_scipys(degree: int) -> None:
    unit = directions()
    found = harmonics_basis(unit, degree)
    assert found.shape == (len(unit), (degree + 1) ** 2)
    for l in range(degree + 1):  # noqa: E741
        for m in range(-l, l + 1):
            expected = real_harmonic(l, m, unit.numpy())
            np.testing.assert_allclose(found[:, l * l + l + m], expected, atol=1e-12, err_msg=f"degree {l}, order {m}")


def test_the_number_of_bands_tells_the_degree() -> None:
    assert [degree_of_bands(bands) for bands in (1, 4, 9, 16, 25)] == [0, 1, 2, 3, 4]
    for bands in (0, 2, 3, 5, 24, 26, 36):
        with pytest.raises(ValueError, match=f"1, 4, 9, 16 or 25 bands, not {bands}"):
            degree_of_bands(bands)


def test_colors_are_half_grey_plus_the_sum_and_never_below_black() -> None:
    unit = directions(7)
    harmonics = torch.randn(7, 9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    basis = np.stack([real_harmonic(l, m, unit.numpy()) for l in range(3) for m in range(-l, l + 1)], -1)  # noqa: E741
    expected = np.maximum(0.5 + np.einsum("nb,nbc->nc", basis, harmonics.numpy()), 0)
    assert (expected == 0).any() and (expected > 1).any()
    # The length of a direction does not count, as small or large as it may be.
    for length in (1.0, 1e-6, 250.0):
        np.testing.assert_allclose(color_from_harmonics(harmonics, length * unit), expected, atol=1e-9)
    assert bool(color_from_harmonics(harmonics, 0 * unit).isfinite().all())


def test_a_color_looks_the_same_from_everywhere() -> None:
    color = torch.rand(7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for bands in (1, 4, 16):
        harmonics = harmonics_from_color(color, bands)
        assert harmonics.shape == (7, bands, 3)
        torch.testing.assert_close(color_from_harmonics(harmonics, directions(7)), color)
    assert pytest.approx(1 / (2 * math.sqrt(math.pi)), rel=1e-15) == BAND_ZERO
    assert harmonics_from_color(color).shape == (7, 1, 3)
    with pytest.raises(ValueError, match="not 5"):
        harmonics_from_color(color, 5)


def test_a_turn_is_computed_in_float64_and_given_back_as_it_came() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3)).double()).Q
    turn = turn * torch.det(turn)
    for degree in (1, 4):
        single, double = (harmonics_rotation(turn.to(dtype), degree) for dtype in (torch.float32, torch.float64))
        assert single.dtype == torch.float32 and double.dtype == torch.float64
        torch.testing.assert_close(single.double(), double, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(double @ double.T, torch.eye((degree + 1) ** 2).double(), atol=1e-12, rtol=0)
