"""The nine-number camera encoding of VGGT: translation (3), quaternion xyzw (4), vertical and horizontal field of view."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.projection import intrinsics_from_fov
from vist3a.geometry.quaternion import (
    quaternion_from_rotation,
    rotation_from_quaternion,
    wxyz_from_xyzw,
    xyzw_from_wxyz,
)
from vist3a.records.cameras import Cameras
from vist3a.records.reconstruction import Reconstruction


def cameras_from_encoding(encoding: Float[Tensor, "*batch 9"], height: int, width: int) -> Cameras:
    """Cameras (world to camera, OpenCV) of an encoding; the quaternion need not be unit."""
    translation, quaternion, fov = encoding.split([3, 4, 2], dim=-1)
    rotation = rotation_from_quaternion(wxyz_from_xyzw(quaternion))
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.eye(4, device=encoding.device, dtype=encoding.dtype)[3]
    pose = torch.cat([top, bottom.expand(*top.shape[:-2], 1, 4)], dim=-2)
    return Cameras(pose, intrinsics_from_fov(fov[..., 0], fov[..., 1], height, width))


def encoding_from_cameras(cameras: Cameras, height: int, width: int) -> Float[Tensor, "*batch 9"]:
    """Encoding of cameras; the principal point is taken to be the image centre."""
    pose, k = cameras.world_to_camera, cameras.intrinsics
    quaternion = xyzw_from_wxyz(quaternion_from_rotation(pose[..., :3, :3]))
    fov_h = 2 * torch.atan((height / 2) / k[..., 1, 1])
    fov_w = 2 * torch.atan((width / 2) / k[..., 0, 0])
    return torch.cat([pose[..., :3, 3], quaternion, fov_h[..., None], fov_w[..., None]], dim=-1)


def encodings_of(found: Reconstruction) -> Float[Tensor, "iterations batch views 9"]:
    """Those that the network gave; of a network that gives none, the encoding of its cameras as the only iteration."""
    if found.pose_encodings is not None:
        return found.pose_encodings
    return encoding_from_cameras(found.cameras, *found.depth.shape[-2:])[None]
