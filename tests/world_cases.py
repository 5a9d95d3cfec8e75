"""Scenes of the procedural world as if a network had found them without an error."""

from __future__ import annotations

import torch

from vist3a.geometry.projection import unproject_depth
from vist3a.geometry.spherical_harmonics import harmonics_from_color
from vist3a.records import Cameras, Gaussians, Reconstruction
from vist3a_lab.world import ProceduralWorld

SIZE, VIEWS = 64, 9


def world_scene(
    number: int, extra: int = 2, size: int = SIZE, views: int = VIEWS
) -> tuple[Reconstruction, torch.Tensor, Cameras, torch.Tensor]:
    """Exact depth and cameras of the given views, their frames; cameras and depth of views off the path."""
    made = ProceduralWorld().scenes(43, [number], (size, size), views, extra)
    cameras = made.cameras.relative_to_first()
    seen, depth = cameras[:, :views], made.depth[:, :views]
    one = torch.ones_like(depth)
    scene = Reconstruction(seen, depth, one, unproject_depth(depth, seen), one)
    return scene, made.given, cameras[0, views:], made.depth[0, views:]


def splats_of(scene: Reconstruction, frames: torch.Tensor) -> Gaussians:
    """One opaque round splat for every pixel, as large as it."""
    depth, focal = scene.depth[0].reshape(-1), float(scene.cameras.intrinsics[0, 0, 0, 0])
    count = len(depth)
    return Gaussians(
        means=scene.points[0].reshape(1, -1, 3),
        scales=(0.5 * depth / focal)[None, :, None].expand(1, count, 3).contiguous(),
        rotations=torch.tensor([1.0, 0, 0, 0]).expand(1, count, 4).contiguous(),
        opacities=torch.full((1, count), 0.9),
        harmonics=harmonics_from_color(frames[0].movedim(1, -1).reshape(1, -1, 3)),
    )
