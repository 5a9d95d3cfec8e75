"""Quaternions and rotation matrices. Scalar-first (wxyz) unless the name says otherwise."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def wxyz_from_xyzw(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Move the scalar part from last to first."""
    return quaternion.roll(1, dims=-1)


def xyzw_from_wxyz(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Move the scalar part from first to last."""
    return quaternion.roll(-1, dims=-1)


def rotation_from_quaternion(wxyz: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrix of a (not necessarily unit) quaternion: the formula divides by the squared norm."""
    w, x, y, z = wxyz.unbind(-1)
    s = 2.0 / (wxyz * wxyz).sum(-1)
    return torch.stack(
        [
            1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w),
            s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w),
            s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def quaternion_from_rotation(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternion wxyz with w >= 0; the best conditioned of the four equivalent formulas is chosen per matrix."""
    m = rotation
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Each row is the quaternion multiplied by 4w, 4x, 4y, 4z respectively; the largest multiplier is the safest.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, m[..., 2, 1] - m[..., 1, 2],
                         m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1),
            torch.stack([m[..., 2, 1] - m[..., 1, 2], 1 + m00 - m11 - m22,
                         m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0]], -1),
            torch.stack([m[..., 0, 2] - m[..., 2, 0], m[..., 0, 1] + m[..., 1, 0],
                         1 - m00 + m11 - m22, m[..., 1, 2] + m[..., 2, 1]], -1),
            torch.stack([m[..., 1, 0] - m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0],
                         m[..., 1, 2] + m[..., 2, 1], 1 - m00 - m11 + m22], -1),
        ],
        dim=-2,
    )  # fmt: skip
    # The diagonal holds 4w^2, 4x^2, 4y^2 and 4z^2.
    best = torch.diagonal(rows, dim1=-2, dim2=-1).argmax(-1)
    q = torch.gather(rows, -2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    q = torch.nn.functional.normalize(q, dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def rotation_angle(a: Float[Tensor, "*batch 3 3"], b: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angle of the rotation from ``a`` to ``b`` in radians, accurate near 0 (computed from the chord, not from arccos)."""
    # The chord is 2 sqrt(2) sin(angle / 2); rounding may lift the quotient above 1.
    chord = (a - b).flatten(-2).norm(dim=-1)
    return 2 * torch.asin((chord / (2 * 2**0.5)).clamp(max=1.0))
