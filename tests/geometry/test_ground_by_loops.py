"""The ground of random clouds, plane by plane in NumPy; and shares, slopes and heights exactly at what is allowed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vist3a.geometry.ground import find_ground
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Cameras

INTRINSICS = torch.tensor([[60.0, 0, 32], [0, 60, 32], [0, 0, 1]])


def ground_by_loops(points: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, float, float] | None:
    """Normal, offset and share; the draws are torch's, all else is written out."""
    generator = torch.Generator().manual_seed(0)
    cloud = points[np.isfinite(points).all(1)].astype(np.float64)
    if len(cloud) < 3:
        return None
    cloud = cloud[torch.randperm(len(cloud), generator=generator)[:8000].numpy()]
    poses = cameras.world_to_camera.double().numpy()
    centers = np.array([-pose[:3, :3].T @ pose[:3, 3] for pose in poses])
    up = -np.mean([pose[1, :3] for pose in poses], 0)
    up /= np.sqrt((up**2).sum())
    distances = sorted(np.sqrt(((point - centers.mean(0)) ** 2).sum()) for point in cloud)
    near = 0.015 * distances[(len(cloud) - 1) // 2]
    best, found = -1.0, None
    for a, b, c in cloud[torch.randint(len(cloud), (512, 3), generator=generator).numpy()]:
        normal = np.cross(b - a, c - a)
        length = math.sqrt((normal**2).sum())
        if length == 0:
            continue
        normal = normal / length * (1 if normal @ up > 0 else -1)
        heights = (cloud - a) @ normal
        roll = np.mean([(pose[0, :3] @ normal) ** 2 for pose in poses])
        lowest = min((center - a) @ normal for center in centers)
        if normal @ up > 0.4 and roll < 0.15 and lowest > near:
            share, below = np.mean(np.abs(heights) < near), np.mean(heights < -2 * near)
            score = share * (1 - below) ** 2 * (1 - roll) ** 2 * (normal @ up)
            if score > best:
                best, found = score, (normal, np.abs(heights) < near)
    if found is None:
        return None
    normal, mask = found
    for _ in range(3):
        middle = cloud[mask].mean(0)
        fitted = np.linalg.svd(cloud[mask] - middle)[2][2]
        normal = fitted * (1 if fitted @ normal > 0 else -1)
        mask = np.abs((cloud - middle) @ normal) < near
    if mask.mean() < 0.12 or min((center - middle) @ normal for center in centers) <= 0:
        return None
    return normal, float(normal @ middle), float(mask.mean())


def random_scene(seed: int) -> tuple[torch.Tensor, Cameras]:
    """Few points: some of a slope that is at times too steep, too low or too small to be a ground, others anywhere."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    count, others = int(uniform(4, 30)), int(uniform(0, 60))
    turn = torch.cat([torch.ones(3, 1), uniform(0.1, 0.7) * torch.randn(3, 3, generator=generator)], 1)
    pose = torch.eye(4).repeat(3, 1, 1)
    pose[:, :3, :3] = rotation_from_quaternion(torch.nn.functional.normalize(turn, dim=-1))
    pose[:, :3, 3] = uniform(0.1, 1.5) * torch.randn(3, 3, generator=generator)
    flat = torch.cat(
        [torch.randn(count, 1, generator=generator), torch.zeros(count, 1), torch.randn(count, 1, generator=generator)],
        1,
    )
    flat[:, 1] = (
        uniform(0.0, 0.06) * torch.randn(count, generator=generator) + uniform(0, 1) * flat[:, 0] + uniform(0, 1)
    )
    cloud = torch.cat([2 * flat + torch.tensor([0, 0.3, 2.0]), 2 * torch.randn(others, 3, generator=generator)])
    cloud[::9, 1] = torch.nan
    return cloud, Cameras(pose, INTRINSICS.expand(3, 3, 3))


def test_the_ground_of_random_clouds_is_that_of_looking_at_each_plane() -> None:
    found = 0
    for seed in range(40):
        points, cameras = random_scene(seed)
        wanted, ground = ground_by_loops(points.numpy(), cameras), find_ground(points.double(), cameras)
        assert (ground is None) == (wanted is None), seed
        if ground is not None and wanted is not None:
            np.testing.assert_allclose(ground.normal, wanted[0], atol=1e-9)
            assert (ground.offset, ground.share) == pytest.approx(wanted[1:], abs=1e-9)
            found += 1
    assert 10 < found < 30


def test_of_many_points_eight_thousand_are_looked_at_in_double_precision() -> None:
    points, cameras = random_scene(3)
    many = points.nan_to_num(1.0).repeat(900, 1)
    many = (many + 0.05 * torch.randn(many.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    assert len(many) > 8000
    learned = Cameras(cameras.world_to_camera.clone().requires_grad_(), cameras.intrinsics)
    wanted, ground = ground_by_loops(many.detach().numpy(), cameras), find_ground(many, learned)
    assert ground is not None and wanted is not None and ground.normal.dtype == torch.float32
    assert not ground.normal.requires_grad
    np.testing.assert_allclose(ground.normal, wanted[0], atol=1e-7)
    assert (ground.offset, ground.share) == pytest.approx(wanted[1:], abs=1e-12)


def floor(inside: int, others: int, height: float = 1.5) -> torch.Tensor:
    """Points of the plane y = height, and points far above it that lie in no plane."""
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(inside, 3, generator=generator, dtype=torch.float64) * torch.tensor([4.0, 0, 4]) + torch.tensor(
        [-2.0, height, 1]
    )
    high = torch.rand(others, 3, generator=generator, dtype=torch.float64) * torch.tensor([9.0, 9, 9]) + torch.tensor(
        [-4.0, -9, 1]
    )
    return torch.cat([low, high])


def level_cameras(*centers: tuple[float, float, float]) -> Cameras:
    pose = torch.eye(4, dtype=torch.float64).repeat(len(centers), 1, 1)
    pose[:, :3, 3] = -torch.tensor(centers, dtype=torch.float64)
    return Cameras(pose, INTRINSICS.double().expand(len(centers), 3, 3))


def test_twelve_of_a_hundred_are_a_ground_and_eleven_are_none() -> None:
    cameras = level_cameras((0, 0, 0), (0.3, 0, 0))
    ground = find_ground(floor(12, 88), cameras)
    assert ground is not None and ground.share == 0.12
    torch.testing.assert_close(ground.normal, torch.tensor([0.0, -1, 0]).double(), atol=1e-12, rtol=0)
    assert find_ground(floor(11, 89), cameras) is None


def test_three_points_are_a_plane_and_two_are_none() -> None:
    cameras = level_cameras((0, 0, 0))
    ground = find_ground(torch.cat([floor(3, 0), torch.full((5, 3), torch.inf).double()]), cameras)
    assert ground is not None and ground.share == 1 and ground.offset == pytest.approx(-1.5)
    assert find_ground(floor(2, 0), cameras) is None
