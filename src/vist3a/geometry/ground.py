"""The ground under a scene: the plane that most of what lies below the cameras lies in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Cameras

TRIES, SAMPLE, SEED = 512, 8000, 0
TOLERANCE = 0.015
"""Distance from the plane at which a point still lies in it, in median distances of the points from the cameras."""
LEAST_SHARE = 0.12
"""Of all points so many lie in the ground, or there is none."""
STEEPEST = 0.4
"""Least cosine between the ground's normal and the mean upward axis of the cameras: they may look down by 66 degrees."""
ROLL = 0.15
"""Largest mean squared cosine between the normal and the rightward axes of the cameras: they may roll by 23 degrees."""


@dataclass(frozen=True)
class Ground:
    """The plane ``normal @ x = offset`` of the world frame; the unit normal points up. ``share`` of the points lie in it."""

    normal: Float[Tensor, " 3"]
    offset: float
    share: float

    def height(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """How far points lie above it, in the unit of the scene."""
        return points @ self.normal.to(points) - self.offset


def find_ground(points: Float[Tensor, "n 3"], cameras: Cameras) -> Ground | None:
    """The ground of finite ``points`` that ``cameras`` (one batch axis, OpenCV) see; None where no plane is it.

    Random triples of points propose planes (RANSAC). A proposal counts by its points, by how little of the scene lies below it,
    and by how well its normal stands across the rightward axes of the cameras: cameras seldom roll, so these are level, and a
    wall that fills the pictures is no ground. The best is fitted to its points by least squares. Equal input gives equal planes.

    Example:
        >>> ground = find_ground(scene.points[0].reshape(-1, 3), scene.cameras[0])
        >>> ground.height(scene.cameras[0].centers)  # of the cameras over the ground
    """
    generator = torch.Generator().manual_seed(SEED)
    cloud = points.detach().double().cpu()
    cloud = cloud[torch.isfinite(cloud).all(-1)]
    if len(cloud) < 3:
        return None
    cloud = cloud[torch.randperm(len(cloud), generator=generator)[:SAMPLE]]
    poses = cameras.world_to_camera.detach().double().cpu()
    centers, right, up = cameras.detach().to("cpu", torch.float64).centers, poses[:, 0, :3], -poses[:, 1, :3].mean(0)
    up = up / up.norm()
    near = TOLERANCE * float((cloud - centers.mean(0)).norm(dim=-1).median())

    corners = cloud[torch.randint(len(cloud), (TRIES, 3), generator=generator)]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
    # Of points drawn twice the normal is 0 / 0, which no comparison below allows.
    normals = normals / normals.norm(dim=-1, keepdim=True)
    normals = normals * torch.sign(normals @ up)[:, None]
    heights = cloud @ normals.T - (normals * corners[:, 0]).sum(-1)
    inside, below = (heights.abs() < near).double().mean(0), (heights < -2 * near).double().mean(0)
    roll = (right @ normals.T).square().mean(0)
    score = inside * (1 - below).square() * (1 - roll).square() * (normals @ up)
    lowest = (centers @ normals.T - (normals * corners[:, 0]).sum(-1)).amin(0)
    allowed = (normals @ up > STEEPEST) & (roll < ROLL) & (lowest > near)
    if not allowed.any():
        return None
    best = int(torch.where(allowed, score, -torch.inf).argmax())
    normal, mask = normals[best], heights[:, best].abs() < near
    for _ in range(3):
        # Nearer to its points than the plane before: some of them stay.
        normal, offset = _fit(cloud[mask], normal)
        mask = (cloud @ normal - offset).abs() < near
    share = float(mask.double().mean())
    if share < LEAST_SHARE or float((centers @ normal - offset).amin()) <= 0:
        return None
    return Ground(normal.to(points.dtype), offset, share)


def levelling(normal: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """The smallest rotation that makes a unit normal point up, which is -y in the axes of OpenCV."""
    up = normal.new_tensor([0.0, -1.0, 0.0])
    # Half of the angle between the two: the quaternion from one unit vector to the other; the formula divides by its norm.
    quaternion = torch.cat([(1 + normal @ up)[None], torch.linalg.cross(normal, up)])
    return rotation_from_quaternion(quaternion)


def _fit(points: Float[Tensor, "n 3"], towards: Float[Tensor, " 3"]) -> tuple[Float[Tensor, " 3"], float]:
    """Unit normal and offset of the plane of least squares, the normal on the side of ``towards``."""
    center = points.mean(0)
    _, axes = torch.linalg.eigh((points - center).T @ (points - center))
    normal = axes[:, 0] * torch.sign(axes[:, 0] @ towards)
    return normal, float(normal @ center)
