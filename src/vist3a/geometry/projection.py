"""Pinhole projection. Pixels span [0, W] x [0, H]; the centre of pixel (row r, column c) is (c + 0.5, r + 0.5)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records.cameras import Cameras


def pixel_grid(
    height: int,
    width: int,
    offset: float = 0.5,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "height width 2"]:
    """Pixel coordinates (x, y); ``offset`` 0.5 gives centres, 0 the integer coordinates some public networks use."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device, dtype=dtype) + offset,
        torch.arange(width, device=device, dtype=dtype) + offset,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1)


def unproject_depth(
    depth: Float[Tensor, "*batch height width"], cameras: Cameras, offset: float = 0.5
) -> Float[Tensor, "*batch height width 3"]:
    """World points of a z-depth map. ``offset`` as in :func:`pixel_grid`."""
    height, width = depth.shape[-2:]
    grid = pixel_grid(height, width, offset, device=depth.device, dtype=depth.dtype)
    k = cameras.intrinsics[..., None, None, :, :]
    x = (grid[..., 0] - k[..., 0, 2]) / k[..., 0, 0] * depth
    y = (grid[..., 1] - k[..., 1, 2]) / k[..., 1, 1] * depth
    points_camera = torch.stack([x, y, depth], dim=-1)
    pose = cameras.camera_to_world
    # One product per camera, not one per pixel.
    turned = points_camera.flatten(-3, -2) @ pose[..., :3, :3].transpose(-1, -2)
    return (turned + pose[..., None, :3, 3]).unflatten(-2, (height, width))


def project(
    points: Float[Tensor, "*batch n 3"], cameras: Cameras
) -> tuple[Float[Tensor, "*batch n 2"], Float[Tensor, "*batch n"]]:
    """Pixel coordinates and z-depth of world points in each camera (points behind the camera are not filtered)."""
    pose = cameras.world_to_camera
    local = points @ pose[..., :3, :3].transpose(-1, -2) + pose[..., None, :3, 3]
    homogeneous = local @ cameras.intrinsics.transpose(-1, -2)
    z = local[..., 2]
    # The division never meets zero, and keeps the sign of z for points behind the camera.
    return homogeneous[..., :2] / z.abs().clamp(min=1e-8).copysign(z)[..., None], z


def intrinsics_from_fov(
    fov_height: Float[Tensor, "*batch"], fov_width: Float[Tensor, "*batch"], height: int, width: int
) -> Float[Tensor, "*batch 3 3"]:
    """Intrinsics in pixels from fields of view in radians; principal point at the image centre."""
    zero, one = torch.zeros_like(fov_height), torch.ones_like(fov_height)
    fy = (height / 2) / torch.tan(fov_height / 2)
    fx = (width / 2) / torch.tan(fov_width / 2)
    rows = [fx, zero, one * (width / 2), zero, fy, one * (height / 2), zero, zero, one]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
