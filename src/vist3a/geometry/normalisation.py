"""Normalisation of scenes as VGGT was trained with: first camera = world frame, mean distance of the points = 1."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.projection import unproject_depth
from vist3a.records.cameras import Cameras


def normalise_scene(
    cameras: Cameras, depth: Float[Tensor, "batch views height width"], frames: int | None = None
) -> tuple[Cameras, Float[Tensor, "batch views height width"], Float[Tensor, " batch"]]:
    """Cameras and z-depth in the first camera's frame, divided by the points' mean distance to its centre.

    Args:
        cameras: Cameras [batch, views] in any world frame.
        depth: z-depth, finite everywhere, in the unit of the translations.
        frames: The mean runs over the points of the first ``frames`` views only (all views by default), so that
            held-out views do not change what a network is given.

    Returns:
        Normalised cameras, normalised depth, and the scale that both were divided by.
    """
    # VGGT's normalization (Wang et al., 2025): the frame of the first camera, then the mean distance of all points.
    relative = cameras.relative_to_first()
    given = depth[:, :frames]
    points = unproject_depth(given, relative[:, :frames])
    scale = points.norm(dim=-1).mean(dim=(1, 2, 3)).clamp(min=1e-8)
    # A change of unit touches the translation of a world-to-camera pose and nothing else.
    pose = relative.world_to_camera
    translation = pose[..., :3, 3:] / scale[:, None, None, None]
    top = torch.cat([pose[..., :3, :3], translation], dim=-1)
    normalised = Cameras(torch.cat([top, pose[..., 3:, :]], dim=-2), relative.intrinsics)
    return normalised, depth / scale[:, None, None, None], scale
