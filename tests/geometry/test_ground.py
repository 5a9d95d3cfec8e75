"""The plane under a scene."""

from __future__ import annotations

import math

import pytest
import torch

from vist3a.geometry.ground import find_ground, levelling
from vist3a.geometry.projection import unproject_depth
from vist3a.records import Cameras
from vist3a_lab.world import ProceduralWorld


def cameras_over(pitch: float) -> tuple[Cameras, torch.Tensor]:
    """Five cameras that look down by ``pitch`` degrees in the frame of the first; and the upward direction."""
    angle = math.radians(pitch)
    pose = torch.eye(4).repeat(5, 1, 1)
    pose[:, 0, 3] = torch.linspace(0, -0.4, 5)
    up = torch.tensor([0.0, -math.cos(angle), -math.sin(angle)])
    return Cameras(pose, torch.tensor([[60.0, 0, 32], [0, 60, 32], [0, 0, 1]]).expand(5, 3, 3)), up


def plane_points(normal: torch.Tensor, offset: float, count: int, seed: int) -> torch.Tensor:
    """Random points of a plane, in front of the cameras."""
    points = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * torch.tensor([4.0, 4, 3])
    points = points - torch.tensor([2.0, 2, -1])
    return points - (points @ normal - offset)[:, None] * normal


@pytest.mark.parametrize("pitch", [0.0, 15.0, 40.0])
def test_the_ground_is_found_before_a_larger_wall(pitch: float) -> None:
    cameras, up = cameras_over(pitch)
    wall = torch.tensor([0.0, math.sin(math.radians(pitch)), -math.cos(math.radians(pitch))])
    noise = 0.003 * torch.randn(5000, 3, generator=torch.Generator().manual_seed(2))
    points = torch.cat([plane_points(up, -1.5, 2000, 0), plane_points(wall, -4.0, 3000, 1)]) + noise
    # What stands below is cut by the floor.
    points = points[points @ up > -1.52]
    ground = find_ground(points, cameras)
    assert ground is not None
    assert float((ground.normal @ up).clamp(-1, 1).acos()) < math.radians(0.5)
    torch.testing.assert_close(ground.height(cameras.centers), torch.full((5,), 1.5), atol=0.02, rtol=0)
    again = find_ground(points, cameras)
    assert again is not None and torch.equal(ground.normal, again.normal) and ground.offset == again.offset


def test_a_wall_alone_is_no_ground() -> None:
    cameras, _ = cameras_over(0)
    assert find_ground(plane_points(torch.tensor([0.0, 0, -1]), -3, 3000, 0), cameras) is None
    assert find_ground(torch.full((10, 3), torch.nan), cameras) is None
    # Above the cameras there is a ceiling.
    assert find_ground(plane_points(torch.tensor([0.0, -1, 0]), 2, 3000, 0), cameras) is None


def test_the_ground_of_exact_scenes_is_the_level_of_the_world() -> None:
    scenes = ProceduralWorld().scenes(41, range(4), (48, 48), 5)
    for scene in range(4):
        cameras = scenes.cameras[scene]
        relative = cameras.relative_to_first()
        ground = find_ground(unproject_depth(scenes.depth[scene], relative).reshape(-1, 3), relative)
        assert ground is not None
        up = cameras.world_to_camera[0, :3, 2]
        assert float(ground.normal @ up) > math.cos(math.radians(0.5))
        torch.testing.assert_close(ground.height(relative.centers), cameras.centers[:, 2], atol=0.02, rtol=0.01)


def test_levelling_makes_a_normal_point_up() -> None:
    normal = torch.nn.functional.normalize(torch.tensor([0.2, -0.8, -0.4], dtype=torch.float64), dim=0)
    turn = levelling(normal)
    torch.testing.assert_close(turn @ normal, torch.tensor([0.0, -1, 0], dtype=torch.float64))
    torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(levelling(torch.tensor([0.0, -1, 0])), torch.eye(3))
