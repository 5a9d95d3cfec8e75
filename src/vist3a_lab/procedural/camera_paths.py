"""Smooth camera paths around a scene and the cameras on them (OpenCV, square images, principal point at the centre)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.projection import intrinsics_from_fov
from vist3a.records.cameras import Cameras
from vist3a_lab.procedural.scene import CameraPath, SceneBatch


def look_at(position: Float[Tensor, "*batch 3"], target: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4 4"]:
    """World-to-camera poses of cameras that look at a target, with world z up (x right, y down, z forward)."""
    forward = torch.nn.functional.normalize(target - position, dim=-1)
    # forward x z, which vanishes only for cameras that look straight up or down; no path has one.
    right = torch.stack([forward[..., 1], -forward[..., 0], torch.zeros_like(forward[..., 0])], dim=-1)
    right = torch.nn.functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right, dim=-1)
    rotation = torch.stack([right, down, forward], dim=-2)
    # Not a matrix product: its summation order could depend on the batch.
    translation = -(rotation * position[..., None, :]).sum(-1, keepdim=True)
    bottom = (torch.zeros_like(rotation[..., :1, :]), torch.ones_like(translation[..., :1, :]))
    return torch.cat([torch.cat([rotation, translation], -1), torch.cat(bottom, -1)], dim=-2)


def path_poses(
    path: CameraPath,
    parameter: Float[Tensor, "batch views"],
    azimuth_offset: Float[Tensor, "batch views"] | None = None,
    elevation_offset: Float[Tensor, "batch views"] | None = None,
    radius_factor: Float[Tensor, "batch views"] | None = None,
) -> Float[Tensor, "batch views 4 4"]:
    """Poses at path parameters in [0, 1], optionally moved off the path (radians and a factor on the radius)."""
    u = parameter
    azimuth = path.azimuth[:, None] + path.sweep[:, None] * u
    elevation = path.elevation[:, None] + path.lift[:, None] * u
    factor = 1 + path.dolly_start[:, None] * (1 - u) + path.dolly_end[:, None] * u
    if azimuth_offset is not None:
        azimuth = azimuth + azimuth_offset
    if elevation_offset is not None:
        elevation = elevation + elevation_offset
    if radius_factor is not None:
        factor = factor * radius_factor
    radius = path.radius[:, None] * factor
    horizontal = radius * elevation.cos()
    offset = torch.stack([horizontal * azimuth.cos(), horizontal * azimuth.sin(), radius * elevation.sin()], -1)
    # A pan slides the camera sideways and lets the aim follow at half the speed: parallax without leaving the objects.
    slide = (u - 0.5) * (path.truck * path.radius)[:, None]
    side = torch.stack([-azimuth.sin() * slide, azimuth.cos() * slide, torch.zeros_like(slide)], -1)
    target = torch.zeros_like(offset)
    target[..., 2] = path.target_height[:, None]
    return look_at(target + offset + side, target + 0.5 * side)


def cameras(scenes: SceneBatch, frames: int = 13, extra: int = 0, height: int = 64, width: int = 64) -> Cameras:
    """Cameras of the frames (uniform path parameters, both ends included), then of ``extra`` held-out views.

    Held-out views have random path parameters and lie off the path (azimuth up to 6 degrees, elevation up to 3.5
    degrees, radius up to 6 %). Poses are computed in float64 and returned in the dtype of the scenes.
    """
    path = scenes.path
    available = path.held_out.shape[1]
    if not 0 <= extra <= available:
        raise ValueError(f"extra views must lie in 0..{available}, found {extra}.")
    if frames < 1:
        raise ValueError(f"frames must be at least 1, found {frames}.")
    uniform = torch.linspace(0, 1, frames, dtype=path.azimuth.dtype, device=path.azimuth.device)
    poses = path_poses(path, uniform.expand(len(scenes), frames))
    if extra:
        u, azimuth, elevation, factor = path.held_out[:, :extra].unbind(-1)
        poses = torch.cat([poses, path_poses(path, u, azimuth, elevation, factor)], dim=1)
    fov = path.fov[:, None].expand(len(scenes), frames + extra)
    # ``fov`` spans the height; pixels are square.
    fov_width = 2 * torch.atan(torch.tan(fov / 2) * (width / height))
    intrinsics = intrinsics_from_fov(fov, fov_width, height, width)
    return Cameras(poses, intrinsics).to(dtype=scenes.dtype)
