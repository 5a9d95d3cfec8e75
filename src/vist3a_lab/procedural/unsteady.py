"""Clips as real video generators learn from: things move and change shape, the camera shakes, light flickers, shots are cut.

The 3D network learns from static scenes under exact cameras (:mod:`vist3a_lab.procedural.raycast`). What is filmed here has no
single geometry, so it is color only. Every effect is a function of time drawn from the scene's own random numbers: scene i of a
seed flickers in the same way whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.geometry.projection import intrinsics_from_fov
from vist3a.records.cameras import Cameras
from vist3a_lab.procedural.attributes import MAX_OBJECTS
from vist3a_lab.procedural.camera_paths import path_poses
from vist3a_lab.procedural.layout import CAMERA_REACH
from vist3a_lab.procedural.raycast import render
from vist3a_lab.procedural.scene import SceneBatch, Solids, map_tensors
from vist3a_lab.procedural.uniforms import UNSTEADY_STREAM, Array, UniformColumns, uniform_blocks

WAVES = 3
"""Sinusoids that a shaking camera or a pulsing object is made of."""
WARP_GRID = 4
"""Control points of the image warp, per axis."""
SUBSAMPLES = ((-0.25, -0.25), (0.25, 0.25), (0.25, -0.25), (-0.25, 0.25))
"""Places in the pixel (right, down) of its color samples, in the order in which the open shutter takes them."""


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
    speed: tuple[float, float] = (1.0, 1.8)
    """Length of the camera's path, in lengths of the static world's (range of a uniform distribution)."""
    drift: Effect = Effect(0.5, 1.0)
    """Objects slide over the ground; world units per clip."""
    spin: Effect = Effect(0.4, 2.0)
    """Objects turn about their axis; radians per clip."""
    morph: Effect = Effect(0.5, 0.45)
    """Objects stretch and shrink; share of their height."""
    shake: Effect = Effect(0.5, 0.02)
    """The camera trembles about the scene; radians, and as a share of its distance."""
    blur: Effect = Effect(0.4, 1.0)
    """Time that the shutter is open; frame intervals."""
    exposure: Effect = Effect(0.8, 0.14)
    """Brightness from frame to frame; standard deviation of its logarithm."""
    tint: Effect = Effect(0.6, 0.07)
    """The same of each color channel by itself."""
    warp: Effect = Effect(1.0, 0.18)
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


def _waves(amplitude: Tensor, beat: Tensor, time: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """Sum of sinusoids that starts at 0; ``amplitude`` [batch, waves], ``beat`` [batch, waves, 2]."""
    cycles, phase = beat.unbind(-1)
    angle = 2 * math.pi * cycles[:, None] * time[..., None] + phase[:, None]
    return (amplitude[:, None] * (angle.sin() - phase.sin()[:, None])).sum(-1)


def poses_at(scenes: SceneBatch, clip: Unsteadiness, time: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n 4 4"]:
    """World-to-camera poses of the hurried, shaking, jumping camera at the given times (float64)."""
    parameter = clip.speed[:, None] * time
    azimuth, elevation, distance = (_waves(clip.shake[:, i], clip.tremble[:, i], time) for i in range(3))
    azimuth = azimuth + torch.where(time >= clip.cut_at[:, None], clip.jump[:, None], 0.0)
    path = scenes.path
    on_path = 1 + path.dolly_start[:, None] * (1 - parameter) + path.dolly_end[:, None] * parameter
    aside = (parameter - 0.5).abs() * (path.truck * path.radius).abs()[:, None]
    # A longer path must not lead through the wall of a room.
    furthest = (CAMERA_REACH - aside) / (path.radius[:, None] * on_path)
    return path_poses(path, parameter, azimuth, elevation, torch.minimum(1 + distance, furthest))


def solids_at(solids: Solids, clip: Unsteadiness, time: Float[Tensor, " batch"]) -> Solids:
    """The objects at one time of each clip: moved, turned, taller and thinner or the reverse (volume is kept)."""
    time = time[:, None].to(solids.radius.dtype)
    clip = map_tensors(clip, lambda tensor: tensor.to(solids.radius.dtype))
    turn = clip.spin * time
    cos, sin = turn.cos(), turn.sin()
    cycles, phase = clip.beat.unbind(-1)
    swing = (2 * math.pi * cycles * time + phase).sin() - phase.sin()
    taller = (clip.morph * swing).exp()
    thinner = taller.rsqrt()
    # rho^2 = constant + linear z + square z^2, scaled by `thinner` in rho and by `taller` in z.
    return replace(
        solids,
        center_x=solids.center_x + clip.drift[..., 0] * time,
        center_y=solids.center_y + clip.drift[..., 1] * time,
        cos_yaw=solids.cos_yaw * cos - solids.sin_yaw * sin,
        sin_yaw=solids.sin_yaw * cos + solids.cos_yaw * sin,
        radius=solids.radius * thinner,
        height=solids.height * taller,
        constant=solids.constant * thinner**2,
        linear=solids.linear * thinner**2 / taller,
        square=solids.square * thinner**2 / taller**2,
    )


def bend(
    images: Float[Tensor, "batch 3 height width"], warp: Float[Tensor, "batch 2 rows columns"]
) -> Float[Tensor, "batch 3 height width"]:
    """Images resampled where a smooth field of displacements (shares of the width) leads; the border is repeated."""
    height, width = images.shape[-2:]
    field = nn.functional.interpolate(warp.to(images.dtype), (height, width), mode="bicubic", align_corners=True)
    rows = (torch.arange(height, device=images.device, dtype=images.dtype) + 0.5) * (2 / height) - 1
    columns = (torch.arange(width, device=images.device, dtype=images.dtype) + 0.5) * (2 / width) - 1
    grid = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], -1)
    scale = torch.tensor([2.0, 2.0 * width / height], device=images.device, dtype=images.dtype)
    grid = grid + field.permute(0, 2, 3, 1) * scale
    return nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def film(
    scenes: SceneBatch, clip: Unsteadiness, frames: int, height: int = 64, width: int = 64
) -> Float[Tensor, "batch frames 3 height width"]:
    """Clips in [0, 1] of unsteady scenes, in the scenes' dtype and on their device.

    Without any unsteadiness the frames are those of :func:`vist3a_lab.procedural.raycast.render` with ``supersample=2``.

    Args:
        scenes: The scenes as they are at the first frame.
        clip: What happens in them, one row a scene.
        frames: Frames per clip, evenly spaced in time from 0 to 1.
        height: Rows.
        width: Columns.
    """
    clip = clip.to(scenes.device)
    batch, samples = len(scenes), len(SUBSAMPLES)
    start = torch.linspace(0, 1, frames, dtype=torch.float64, device=scenes.device)
    offset = (torch.arange(samples, dtype=torch.float64, device=scenes.device) + 0.5) / samples - 0.5
    time = start[None, :, None] + clip.blur[:, None, None] * offset / max(frames - 1, 1)
    time = time.reshape(batch, frames * samples)
    poses = poses_at(scenes, clip, time)
    # One static scene for each moment: the ray caster knows no time.
    moment = torch.arange(batch, device=scenes.device).repeat_interleave(frames * samples)
    frozen = scenes[moment]
    frozen = replace(frozen, solids=solids_at(frozen.solids, clip[moment], time.flatten()))
    fov = scenes.path.fov[moment, None]
    intrinsics = intrinsics_from_fov(fov, 2 * torch.atan(torch.tan(fov / 2) * (width / height)), height, width)
    shift = torch.tensor(SUBSAMPLES, dtype=intrinsics.dtype, device=scenes.device).repeat(batch * frames, 1)
    intrinsics[:, 0, :2, 2] -= shift
    views = Cameras(poses.reshape(-1, 1, 4, 4), intrinsics).to(dtype=scenes.dtype)
    rgb, _ = render(frozen, views, height, width, supersample=1)
    rgb = rgb.reshape(batch * frames, samples, 3, height, width).mean(1)
    if bool((clip.warp != 0).any()):
        rgb = bend(rgb, clip.warp.flatten(0, 1))
    rgb = rgb.reshape(batch, frames, 3, height, width) * clip.gain[..., None, None].to(rgb.dtype)
    return rgb.clamp(0, 1)
