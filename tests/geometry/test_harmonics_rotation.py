"""Turning spherical harmonics."""

import pytest
import torch

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.geometry.spherical_harmonics import harmonics_basis, harmonics_rotation


@pytest.mark.parametrize("degree", range(5))
def test_turned_coefficients_give_the_old_values_at_turned_directions(degree: int) -> None:
    generator = torch.Generator().manual_seed(degree)
    rotation = rotation_from_quaternion(torch.randn(2, 3, 4, generator=generator, dtype=torch.float64))
    directions = torch.nn.functional.normalize(torch.randn(7, 3, generator=generator, dtype=torch.float64), dim=-1)
    bands = (degree + 1) ** 2
    coefficients = torch.randn(bands, generator=generator, dtype=torch.float64)
    turn = harmonics_rotation(rotation, degree)
    assert turn.shape == (2, 3, bands, bands)
    turned = harmonics_basis(directions @ rotation.transpose(-1, -2), degree) @ (turn @ coefficients)[..., None]
    expected = harmonics_basis(directions, degree) @ coefficients
    assert torch.allclose(turned.squeeze(-1), expected.expand(2, 3, -1), atol=1e-10)
    assert torch.allclose(turn @ turn.transpose(-1, -2), torch.eye(bands, dtype=torch.float64), atol=1e-10)
