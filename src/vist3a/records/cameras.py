"""Pinhole cameras in the OpenCV convention (x right, y down, z forward)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras.

    ``world_to_camera`` maps world points to camera points (rigid, last row 0 0 0 1). ``intrinsics`` is in
    pixels with the image spanning [0, W] x [0, H]: the centre of the first pixel is (0.5, 0.5).
    """

    world_to_camera: Float[Tensor, "*batch 4 4"]
    intrinsics: Float[Tensor, "*batch 3 3"]

    @property
    def camera_to_world(self) -> Float[Tensor, "*batch 4 4"]:
        """Inverse rigid transforms, without a general matrix inverse."""
        rotation = self.world_to_camera[..., :3, :3].transpose(-1, -2)
        translation = -(rotation @ self.world_to_camera[..., :3, 3:])
        top = torch.cat([rotation, translation], dim=-1)
        return torch.cat([top, self.world_to_camera[..., 3:, :]], dim=-2)

    @property
    def centers(self) -> Float[Tensor, "*batch 3"]:
        """Camera centres in the world frame."""
        return self.camera_to_world[..., :3, 3]

    def relative_to_first(self) -> Cameras:
        """Same cameras with the first of the last batch axis (the views) as world frame."""
        first = self.camera_to_world[..., :1, :, :]
        return Cameras(self.world_to_camera @ first, self.intrinsics)

    def __getitem__(self, index: object) -> Cameras:
        """Index the batch axes."""
        return Cameras(self.world_to_camera[index], self.intrinsics[index])  # type: ignore[index]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cameras:
        """Move to a device and/or dtype."""
        return Cameras(
            self.world_to_camera.to(device=device, dtype=dtype), self.intrinsics.to(device=device, dtype=dtype)
        )

    def detach(self) -> Cameras:
        """Cut the autograd graph."""
        return Cameras(self.world_to_camera.detach(), self.intrinsics.detach())
