"""Cameras from pointmaps: exact on exact data, near the truth with noise and strays, finite on nonsense."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vist3a.geometry.pointmap_cameras import FIELDS_OF_VIEW, cameras_from_pointmaps, focal_from_pointmap
from vist3a.geometry.projection import project, unproject_depth
from vist3a.geometry.quaternion import rotation_angle, rotation_from_quaternion
from vist3a.records import Cameras

HEIGHT, WIDTH = 16, 24


def made_cameras(batch: int, views: int, spread: float) -> Cameras:
    generator = torch.Generator().manual_seed(3)
    quaternion = torch.randn(batch, views, 4, generator=generator, dtype=torch.float64) * spread
    quaternion[..., 0] = 1
    pose = torch.eye(4, dtype=torch.float64).repeat(batch, views, 1, 1)
    pose[:, 1:, :3, :3] = rotation_from_quaternion(quaternion)[:, 1:]
    pose[:, 1:, :3, 3] = torch.randn(batch, views - 1, 3, generator=generator, dtype=torch.float64) * spread
    k = torch.zeros(batch, views, 3, 3, dtype=torch.float64)
    focal = WIDTH * (0.6 + torch.rand(batch, 1, generator=generator, dtype=torch.float64))
    k[..., 0, 0] = k[..., 1, 1] = focal
    k[..., 0, 2], k[..., 1, 2], k[..., 2, 2] = WIDTH / 2, HEIGHT / 2, 1
    return Cameras(pose, k)


def rough(cameras: Cameras) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    shape = (*cameras.intrinsics.shape[:2], HEIGHT, WIDTH)
    return unproject_depth(1 + 2 * torch.rand(shape, generator=generator, dtype=torch.float64), cameras)


def planar(cameras: Cameras) -> Tensor:
    points, normal = rough(cameras), torch.tensor([0.2, 0.1, 1.0]).double()
    centers = cameras.centers[:, :, None, None]
    rays = points - centers
    return centers + rays * ((3 - centers @ normal) / (rays @ normal))[..., None]


def errors(found: Cameras, truth: Cameras) -> tuple[Tensor, Tensor]:
    turned = rotation_angle(found.world_to_camera[..., :3, :3], truth.world_to_camera[..., :3, :3])
    return turned, (found.centers - truth.centers).norm(dim=-1)


@pytest.mark.parametrize("scene", [rough, planar])
@pytest.mark.parametrize("spread", [0.05, 0.15])
def test_exact_pointmaps_give_exact_cameras(scene, spread: float) -> None:  # type: ignore[no-untyped-def]
    truth = made_cameras(6, 5, spread)
    points = scene(truth)
    assert bool((project(points.flatten(2, 3), truth)[1] > 0).all())
    found = cameras_from_pointmaps(points, 1 + torch.rand(points.shape[:-1], dtype=torch.float64))
    turned, moved = errors(found, truth)
    assert float(turned.max()) < 1e-8
    assert float(moved.max()) < 1e-8
    assert torch.allclose(found.intrinsics, truth.intrinsics, atol=1e-8)
    assert torch.equal(found.world_to_camera[:, 0], torch.eye(4).double().expand(6, 4, 4))


def test_noise_and_strays_move_the_cameras_little() -> None:
    truth = made_cameras(6, 4, 0.25)
    points = rough(truth)
    generator = torch.Generator().manual_seed(6)
    points = points + 0.02 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    strays = torch.rand(points.shape[:-1], generator=generator) < 0.1
    points[strays] = 3 * torch.randn(int(strays.sum()), 3, generator=generator, dtype=torch.float64)
    found = cameras_from_pointmaps(points, torch.ones(points.shape[:-1], dtype=torch.float64))
    turned, moved = errors(found, truth)
    assert float(turned.max()) < math.radians(2)
    assert float(moved.max()) < 0.2
    ratio = found.intrinsics[..., 0, 0] / truth.intrinsics[..., 0, 0]
    assert float((ratio - 1).abs().max()) < 0.1
    # Strays that the network distrusts do nothing.
    confidence = torch.where(strays, 1e-9, 1.0).double()
    trusted, _ = errors(cameras_from_pointmaps(points, confidence), truth)
    assert float(trusted.mean()) < float(turned.mean())


def test_a_scene_does_not_depend_on_its_unit_or_on_its_batch() -> None:
    truth = made_cameras(3, 3, 0.2)
    points = rough(truth)
    weights = torch.ones(points.shape[:-1], dtype=torch.float64)
    whole = cameras_from_pointmaps(points, weights)
    larger = cameras_from_pointmaps(1e4 * points[1:2], weights[1:2])
    assert torch.allclose(larger.centers, 1e4 * whole.centers[1:2], rtol=1e-6, atol=1e-3)
    assert torch.allclose(larger.intrinsics, whole.intrinsics[1:2])


@pytest.mark.parametrize("kind", ["zero", "nan", "behind", "random", "one view"])
def test_nonsense_gives_finite_cameras(kind: str) -> None:
    points = torch.randn(2, 3, 8, 8, 3, generator=torch.Generator().manual_seed(7))
    points = {
        "zero": torch.zeros_like(points),
        "nan": torch.full_like(points, math.nan),
        "behind": -points.abs(),
        "random": points,
        "one view": points[:, :1],
    }[kind]
    found = cameras_from_pointmaps(points, torch.ones(points.shape[:-1]))
    assert found.intrinsics.dtype == points.dtype
    assert bool(found.intrinsics.isfinite().all())
    assert bool(found.world_to_camera.isfinite().all())
    rotation = found.world_to_camera[..., :3, :3]
    assert torch.allclose(rotation @ rotation.transpose(-1, -2), torch.eye(3).expand_as(rotation), atol=1e-5)
    assert torch.allclose(torch.det(rotation), torch.ones(rotation.shape[:2]), atol=1e-5)
    if kind in ("zero", "nan", "behind"):
        assert torch.allclose(found.intrinsics[:, 0, 0, 0], torch.tensor(4 / math.tan(FIELDS_OF_VIEW[1] / 2)))


def test_large_maps_are_thinned_without_moving_the_rays() -> None:
    truth = made_cameras(1, 2, 0.2)
    fine = truth.intrinsics.clone()
    fine[..., :2, :] *= 8
    cameras = Cameras(truth.world_to_camera, fine)
    depth = 2 + torch.rand(1, 2, 8 * HEIGHT, 8 * WIDTH, dtype=torch.float64)
    found = cameras_from_pointmaps(unproject_depth(depth, cameras), torch.ones_like(depth))
    turned, moved = errors(found, cameras)
    assert float(turned.max()) < 1e-8
    assert float(moved.max()) < 1e-8


@pytest.mark.parametrize("shape", [(12, 8), (8, 12)])
@pytest.mark.parametrize("focal", [0.5, 2.0, 30.0, 130.0, 1000.0])
def test_the_longer_side_bounds_the_focal_length(shape: tuple[int, int], focal: float) -> None:
    """A wall through a pinhole: half of 12 pixels over the tangent of half of 5 and of 150 degrees."""
    height, width = shape
    y, x = torch.meshgrid(torch.arange(height).double() + 0.5, torch.arange(width).double() + 0.5, indexing="ij")
    points = torch.stack([(x - width / 2) / focal, (y - height / 2) / focal, torch.ones_like(x)], -1)[None]
    lowest, highest = 6 / math.tan(math.radians(75)), 6 / math.tan(math.radians(2.5))
    found = focal_from_pointmap(points, torch.ones(1, *shape, dtype=torch.float64))
    assert float(found) == pytest.approx(min(max(focal, lowest), highest), rel=1e-9)
    # A map that says nothing is taken for one of 60 degrees.
    assumed = focal_from_pointmap(torch.zeros_like(points), torch.ones(1, *shape, dtype=torch.float64))
    assert float(assumed) == pytest.approx(6 / math.tan(math.radians(30)), rel=1e-9)


@pytest.mark.parametrize(("shape", "step"), [((80, 80), 1), ((81, 80), 2), ((80, 81), 2), ((160, 160), 2)])
def test_poses_see_all_of_small_maps_and_a_regular_subset_of_larger_ones(shape: tuple[int, int], step: int) -> None:
    """Strays between the chosen pixels of the second view do nothing; where all are chosen, they do."""
    height, width = shape
    truth = made_cameras(1, 2, 0.2)
    k = truth.intrinsics.clone()
    k[..., :2, 2] = torch.tensor([width / 2, height / 2])
    k[..., 0, 0] = k[..., 1, 1] = float(width)
    seen_by = Cameras(truth.world_to_camera, k)
    generator = torch.Generator().manual_seed(8)
    points = unproject_depth(2 + torch.rand(1, 2, *shape, generator=generator, dtype=torch.float64), seen_by)
    chosen = torch.zeros(shape, dtype=torch.bool)
    chosen[::2, ::2] = True
    points[0, 1, ~chosen] = 3 * torch.randn(int((~chosen).sum()), 3, generator=generator, dtype=torch.float64)
    turned, _ = errors(cameras_from_pointmaps(points, torch.ones(1, 2, *shape, dtype=torch.float64)), seen_by)
    assert (float(turned.max()) < 1e-8) == (step == 2)
