"""A small scene with everything that the exports write."""

from __future__ import annotations

from dataclasses import replace

import torch
from gaussian_cases import some_gaussians

from vist3a.export.viewer import Caption
from vist3a.geometry.projection import unproject_depth
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Cameras, Gaussians, Reconstruction

VIEWS, HEIGHT, WIDTH = 5, 48, 64


def panning_cameras() -> Cameras:
    """Views [VIEWS] that move to the right and turn a little, principal point off the centre."""
    t = torch.linspace(0, 1, VIEWS)
    pose = torch.eye(4).repeat(VIEWS, 1, 1)
    pose[:, :3, :3] = rotation_from_quaternion(torch.stack([torch.ones_like(t), 0 * t, 0.06 * t, 0 * t], -1))
    pose[:, 0, 3] = -0.5 * t
    return Cameras(pose, torch.tensor([[60.0, 0, 30], [0, 62, 25], [0, 0, 1]]).expand(VIEWS, 3, 3))


def coloured_gaussians() -> Gaussians:
    """A few hundred, view-dependent, large enough to cover much of the picture."""
    g = some_gaussians(4, 600)
    spread = torch.tensor([0.8, 0.6, 0.3])
    return replace(
        g, means=spread * g.means + torch.tensor([0.2, 0, 3.0]), scales=3 * g.scales, harmonics=0.6 * g.harmonics
    )


def frontal_wall() -> Reconstruction:
    """A wall straight ahead and nothing else."""
    _, _, scene = small_scene()
    first = Cameras(scene.cameras.world_to_camera[:, :1], scene.cameras.intrinsics[:, :1])
    depth = torch.full_like(scene.depth[:, :1], 3.0)
    one = torch.ones_like(depth)
    return Reconstruction(first, depth, one, unproject_depth(depth, first), one)


def small_scene(caption: str = "a scene") -> tuple[Caption, torch.Tensor, Reconstruction]:
    """Caption, frames [1, views, 3, h, w] and reconstruction of a tilted plane with coloured Gaussians before it."""
    cameras = panning_cameras()
    y, x = torch.meshgrid(torch.linspace(0, 1, HEIGHT), torch.linspace(0, 1, WIDTH), indexing="ij")
    depth = (3 + x - 0.5 * y).expand(VIEWS, HEIGHT, WIDTH)
    frames = torch.stack([torch.stack([x, y, 0 * x + i / VIEWS]) for i in range(VIEWS)])[None]
    points = unproject_depth(depth, cameras)
    one = torch.ones(1, VIEWS, HEIGHT, WIDTH)
    scene = Reconstruction(
        cameras=cameras[None],
        depth=depth[None],
        depth_confidence=one,
        points=points[None],
        points_confidence=one + torch.rand(one.shape, generator=torch.Generator().manual_seed(0)),
        pose_encodings=torch.zeros(1, 1, VIEWS, 9),
        gaussians=coloured_gaussians(),
    )
    return Caption(caption, {"seed": 3, "consistency_db": 21.25}), frames, scene
