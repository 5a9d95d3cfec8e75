"""Rotary position embedding on a 2D token grid: half of each head is turned by the row, half by the column."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, both ``[tokens, head width]``."""


def grid_rotation(
    rows: int, columns: int, special: int, head_width: int, base: float, like: Tensor
) -> tuple[Float[Tensor, "tokens head"], Float[Tensor, "tokens head"]]:
    """Rotation of ``special`` unrotated tokens followed by the grid's patches in row-major order.

    Patches sit at (row + 1, column + 1) so that position 0 is left to the special tokens. Angles are computed in
    float64 and cast to the dtype of ``like``.
    """
    # Two axes, and two members of every pair: a quarter of the head for the frequencies.
    quarter = head_width // 4
    exponent = torch.arange(quarter, device=like.device, dtype=torch.float64) / quarter
    frequency = base**-exponent
    y = torch.arange(1, rows + 1, device=like.device, dtype=torch.float64).repeat_interleave(columns)
    x = torch.arange(1, columns + 1, device=like.device, dtype=torch.float64).repeat(rows)
    angles = torch.stack([y, x], dim=-1)[:, :, None] * frequency
    # Both members of a pair turn by the same angle.
    angles = torch.cat([angles, angles], dim=-1).flatten(1)
    # Angle 0 leaves special tokens as they are.
    angles = torch.cat([angles.new_zeros(special, head_width), angles])
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(
    x: Float[Tensor, "*batch tokens heads head"],
    rotation: tuple[Float[Tensor, "tokens head"], Float[Tensor, "tokens head"]],
) -> Float[Tensor, "*batch tokens heads head"]:
    """Turn queries or keys; each axis' half is itself split in two parts that form the rotated pairs."""
    cos, sin = (part.to(x.dtype)[:, None] for part in rotation)
    turned = x * cos
    # Two updates in place cost half the memory traffic of building the swapped pairs.
    pairs, sines, result = (part.unflatten(-1, (2, 2, -1)) for part in (x, sin, turned))
    result[..., 0, :].addcmul_(pairs[..., 1, :], sines[..., 0, :], value=-1)
    result[..., 1, :].addcmul_(pairs[..., 0, :], sines[..., 1, :])
    return turned
