"""Films of unsteady scenes (:mod:`vist3a_lab.procedural.unsteady`): the ray caster at every moment that a frame is made of."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.geometry.projection import intrinsics_from_fov
from vist3a.records.cameras import Cameras
from vist3a_lab.procedural.camera_paths import path_poses
from vist3a_lab.procedural.layout import CAMERA_REACH
from vist3a_lab.procedural.raycast import render
from vist3a_lab.procedural.scene import SceneBatch, Solids, map_tensors
from vist3a_lab.procedural.unsteady import Unsteadiness

SUBSAMPLES = ((-0.25, -0.25), (0.25, 0.25), (0.25, -0.25), (-0.25, 0.25))
"""Places in the pixel (right, down) of its color samples, in the order in which the open shutter takes them."""


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
    warp = clip.warp.flatten(0, 1)
    # A frame that is not bent keeps its bits, whatever else is in the batch: resampling in place would round it.
    bent = (warp != 0).flatten(1).any(1)[:, None, None, None]
    rgb = torch.where(bent, bend(rgb, warp), rgb)
    rgb = rgb.reshape(batch, frames, 3, height, width) * clip.gain[..., None, None].to(rgb.dtype)
    return rgb.clamp(0, 1)
