"""Clips as real video generators learn from: things move and change shape, the camera shakes, light flickers, shots are cut.

The 3D network learns from static scenes under exact cameras (:mod:`vist3a_lab.procedural.raycast`). What is filmed here has no
single geometry, so it is color only. Every effect is a function of time drawn from the scene's own random numbers: scene i of a
seed flickers in the same way whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a_lab.procedural.attributes import MAX_OBJECTS
from vist3a_lab.procedural.scene import map_tensors
from vist3a_lab.procedural.uniforms import UNSTEADY_STREAM, Array, UniformColumns, uniform_blocks

WAVES = 3
"""Sinusoids that a shaking camera or a pulsing object is made of."""
WARP_GRID = 4
"""Control points of the image warp, per axis."""


@dataclass(frozen=True)
class Effect:
    """How often an effect is seen (share of clips) and how strong it is at most; the strength is uniform up to there."""

    share: float
    most: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must lie in 0..1, found {self.share}.")
        if not self.most >= 0:
            raise ValueError(f"most must not be negative, found {self.most}.")


@dataclass(frozen=True)
class UnsteadyConfig:
    """Which effects, how often and how strong.

    Example:
        >>> calm = UnsteadyConfig(warp=Effect(0.0, 0.0), cut=Effect(0.0, 0.0))
    """

    share: float = 1.0
    """Share of clips in which anything happens; the others are those of the static world."""
    speed: tuple[float, float] = (1.0, 1.6)
    """Length of the camera's path, in lengths of the static world's (range of a uniform distribution)."""
    drift: Effect = Effect(0.9, 1.8)
    """Objects slide over the ground; world units per clip."""
    spin: Effect = Effect(0.7, 2.5)
    """Objects turn about their axis; radians per clip."""
    morph: Effect = Effect(0.5, 0.4)
    """Objects stretch and shrink; share of their height."""
    shake: Effect = Effect(0.5, 0.025)
    """The camera trembles about the scene; radians, and as a share of its distance."""
    blur: Effect = Effect(0.4, 1.0)
    """Time that the shutter is open; frame intervals."""
    exposure: Effect = Effect(0.8, 0.09)
    """Brightness from frame to frame; standard deviation of its logarithm."""
    tint: Effect = Effect(0.6, 0.045)
    """The same of each color channel by itself."""
    warp: Effect = Effect(1.0, 0.2)
    """The picture itself bends, further from frame to frame (a random walk); share of the picture's width."""
    cut: Effect = Effect(0.08, 1.0)
    """The camera jumps about the scene; radians."""

    def __post_init__(self) -> None:
        low, high = self.speed
        if not 0 < low <= high:
            raise ValueError(f"speed must be a range of positive numbers, low before high, found {self.speed}.")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must lie in 0..1, found {self.share}.")


@dataclass(frozen=True)
class Unsteadiness:
    """What happens in each clip of a batch; angles in radians, lengths in world units, time from 0 to 1."""

    speed: Float[Tensor, " batch"]
    drift: Float[Tensor, "batch objects 2"]
    spin: Float[Tensor, "batch objects"]
    morph: Float[Tensor, "batch objects"]
    beat: Float[Tensor, "batch objects 2"]
    """Cycles per clip and phase of the morphing."""
    shake: Float[Tensor, "batch 3 waves"]
    """Amplitudes for azimuth, elevation and distance."""
    tremble: Float[Tensor, "batch 3 waves 2"]
    """Cycles per clip and phase of the shaking."""
    blur: Float[Tensor, " batch"]
    gain: Float[Tensor, "batch frames 3"]
    warp: Float[Tensor, "batch frames 2 rows columns"]
    """Displacements at control points, in shares of the picture's width."""
    cut_at: Float[Tensor, " batch"]
    """Time of the cut; infinity where there is none."""
    jump: Float[Tensor, " batch"]

    def to(self, device: torch.device | str) -> Unsteadiness:
        """The same on another device."""
        return map_tensors(self, lambda tensor: tensor.to(device))

    def __getitem__(self, index: slice | Tensor) -> Unsteadiness:
        """Some of the clips (the batch axis stays)."""
        return map_tensors(self, lambda tensor: tensor[index])


def _strength(columns: UniformColumns, effect: Effect) -> Array:
    """Strength of an effect in every clip, 0 where it is not seen. Always takes two columns."""
    seen, amount = columns.take(1)[:, 0] < effect.share, columns.take(1)[:, 0]
    strength: Array = np.where(seen, effect.most * amount, 0.0)
    return strength


def _normal(columns: UniformColumns, count: int) -> Array:
    """Standard normal numbers, shape (rows, count) (Box-Muller)."""
    radius = np.sqrt(-2 * np.log1p(-columns.take(count)))
    normal: Array = radius * np.cos(2 * np.pi * columns.take(count))
    return normal


def sample_unsteadiness(seed: int, indices: Sequence[int], frames: int, config: UnsteadyConfig) -> Unsteadiness:
    """What happens in clips ``indices`` of a seed, on the CPU in float64; clip i depends on (seed, i) and the settings only."""
    control = 2 * WARP_GRID * WARP_GRID
    count = 65 + 12 * MAX_OBJECTS + 12 * WAVES + frames * (2 * 4 + 2 * control)
    columns = UniformColumns(uniform_blocks(seed, indices, count, UNSTEADY_STREAM))
    rows = len(indices)
    alive = columns.take(1)[:, 0] < config.share
    speed = np.where(alive, columns.one(*config.speed), 1.0)
    angle = columns.many(MAX_OBJECTS, 0.0, 2 * math.pi)
    drift = _strength(columns, config.drift)[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    spin = _strength(columns, config.spin)[:, None] * columns.many(MAX_OBJECTS, -1.0, 1.0)
    morph = _strength(columns, config.morph)[:, None] * columns.many(MAX_OBJECTS, -1.0, 1.0)
    beat = np.stack([columns.many(MAX_OBJECTS, 0.5, 2.0), columns.many(MAX_OBJECTS, 0.0, 2 * math.pi)], -1)
    shake = _strength(columns, config.shake)[:, None] * columns.many(3 * WAVES, -1.0, 1.0)
    tremble = np.stack([columns.many(3 * WAVES, 1.0, 5.0), columns.many(3 * WAVES, 0.0, 2 * math.pi)], -1)
    blur = _strength(columns, config.blur)
    exposure = _strength(columns, config.exposure)[:, None, None] * _normal(columns, frames)[..., None]
    tint = _strength(columns, config.tint)[:, None, None] * _normal(columns, 3 * frames).reshape(rows, frames, 3)
    steps = _normal(columns, frames * control).reshape(rows, frames, 2, WARP_GRID, WARP_GRID)
    # A random walk; at the end of a clip its standard deviation is the strength.
    warp = _strength(columns, config.warp)[:, None, None, None, None] * steps.cumsum(1) / math.sqrt(frames)
    jump = _strength(columns, config.cut) * np.where(columns.take(1)[:, 0] < 0.5, -1.0, 1.0)
    cut_at = np.where(jump == 0, np.inf, columns.one(0.25, 0.75))
    values = {
        "speed": speed,
        "drift": drift,
        "spin": spin,
        "morph": morph,
        "beat": beat,
        "shake": shake.reshape(rows, 3, WAVES),
        "tremble": tremble.reshape(rows, 3, WAVES, 2),
        "blur": blur,
        "gain": np.exp(exposure + tint),
        "warp": warp,
        "cut_at": cut_at,
        "jump": jump,
    }
    calm = {"speed": 1.0, "gain": 1.0, "cut_at": np.inf}
    chosen = {
        name: np.where(alive.reshape(-1, *([1] * (value.ndim - 1))), value, calm.get(name, 0.0))
        for name, value in values.items()
    }
    return Unsteadiness(**{name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in chosen.items()})
