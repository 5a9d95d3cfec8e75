"""Raw maps and encodings of the heads in the project's conventions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.pose_encoding import cameras_from_encoding
from vist3a.records import Cameras

MINIMAL_FIELD_OF_VIEW = 1e-3
"""Radians. The head's rectified field of view can be 0, where intrinsics and their gradients are infinite."""
MAXIMAL_FIELD_OF_VIEW = math.pi - 1e-6
"""Radians. Nothing bounds the head from above; of pi and more the published code makes a negative focal length."""


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half-precision tensors; geometry is not computed below float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cameras(encoding: Float[Tensor, "batch views 9"], size: tuple[int, int], tangent_offset: float = 0.0) -> Cameras:
    """Cameras of a pose encoding for frames of ``size`` (height, width).

    ``tangent_offset`` is added to the tangent of half the field of view before it divides half the frame side. Fields of view are
    kept between 1e-3 and pi - 1e-6 radians, so that focal lengths are positive and finite.
    """
    # Before the tangent, which changes its sign at pi: an offset would not bring that back.
    fov = encoding[..., 7:].clamp(max=MAXIMAL_FIELD_OF_VIEW)
    if tangent_offset:
        fov = 2 * torch.atan(torch.tan(fov / 2) + tangent_offset)
    return cameras_from_encoding(torch.cat([encoding[..., :7], fov.clamp(min=MINIMAL_FIELD_OF_VIEW)], dim=-1), *size)


def depth_and_confidence(
    raw: Float[Tensor, "batch views 2 height width"],
) -> tuple[Float[Tensor, "batch views height width"], Float[Tensor, "batch views height width"]]:
    """Positive z-depth and a confidence above 1."""
    logits = at_least_float32(raw)
    return logits[:, :, 0].exp(), 1 + logits[:, :, 1].exp()


def points_and_confidence(
    raw: Float[Tensor, "batch views 4 height width"],
) -> tuple[Float[Tensor, "batch views height width 3"], Float[Tensor, "batch views height width"]]:
    """World points from their signed logarithms, and a confidence above 1."""
    logits = at_least_float32(raw)
    # VGGT's activation ``inv_log``.
    signed = logits[:, :, :3].movedim(2, -1)
    return signed.sign() * torch.expm1(signed.abs()), 1 + logits[:, :, 3].exp()
