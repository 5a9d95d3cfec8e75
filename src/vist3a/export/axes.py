"""From the axes of OpenCV (x right, y down, z forward) to those of OpenGL and glTF (x right, y up, z backward) and back."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.spherical_harmonics import degree_of_bands, harmonics_rotation
from vist3a.records import Gaussians


def flip_points(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Half a turn around x; its own inverse."""
    return points * points.new_tensor([1.0, -1.0, -1.0])


def turn_to_opengl(gaussians: Gaussians) -> Gaussians:
    """The same scene half a turn around x: means, rotations and harmonics; its own inverse.

    Rotations are conjugated by the turn instead of multiplied with it: the ellipsoid is the same, as the turn only changes signs
    of its axes, and turning twice gives the quaternion itself.
    """
    turn = torch.diag(gaussians.means.new_tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    bands = gaussians.harmonics.shape[2]
    # Half a turn around an axis only changes signs of the basis functions.
    signs = harmonics_rotation(turn, degree_of_bands(bands)).diagonal().round().to(gaussians.harmonics.dtype)
    return Gaussians(
        means=flip_points(gaussians.means),
        scales=gaussians.scales,
        rotations=gaussians.rotations * gaussians.rotations.new_tensor([1.0, 1.0, -1.0, -1.0]),
        opacities=gaussians.opacities,
        harmonics=gaussians.harmonics * signs[:, None],
    )
