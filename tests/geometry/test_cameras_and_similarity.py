"""Cameras as nine numbers, projections, quaternions and similarities, against closed forms, scipy and cv2's conventions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vist3a.geometry.normalisation import normalise_scene
from vist3a.geometry.pose_encoding import cameras_from_encoding, encoding_from_cameras
from vist3a.geometry.projection import intrinsics_from_fov, pixel_grid, project, unproject_depth
from vist3a.geometry.quaternion import quaternion_from_rotation, rotation_angle, rotation_from_quaternion
from vist3a.geometry.similarity import umeyama
from vist3a.records import Cameras

HEIGHT, WIDTH = 30, 50


def turns(count: int, seed: int = 0) -> Rotation:
    return Rotation.random(count, random_state=seed)


def cameras(count: int = 6, seed: int = 0) -> Cameras:
    """Rigid cameras of a field of view that is wider than high."""
    random = np.random.default_rng(seed)
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, :3, :3], pose[:, :3, 3] = turns(count, seed).as_matrix(), random.normal(size=(count, 3))
    k = np.tile(np.array([[40.0, 0, WIDTH / 2], [0, 25.0, HEIGHT / 2], [0, 0, 1]]), (count, 1, 1))
    return Cameras(torch.from_numpy(pose), torch.from_numpy(k))


def test_nine_numbers_are_translation_quaternion_and_the_fields_of_view_height_first() -> None:
    seen_by = cameras()
    encoding = encoding_from_cameras(seen_by, HEIGHT, WIDTH)
    expected = turns(6).as_quat(canonical=True)  # x, y, z, w with w >= 0
    torch.testing.assert_close(encoding[:, :3], seen_by.world_to_camera[:, :3, 3])
    np.testing.assert_allclose(encoding[:, 3:7], expected, atol=1e-12)
    np.testing.assert_allclose(encoding[:, 7], 2 * math.atan(HEIGHT / 2 / 25.0))
    np.testing.assert_allclose(encoding[:, 8], 2 * math.atan(WIDTH / 2 / 40.0))
    # By hand, not through the inverse: a quaternion of any length, a field of view in each direction.
    written = np.concatenate([np.ones((6, 3)), 3.7 * expected, np.full((6, 1), 0.5), np.full((6, 1), 1.2)], 1)
    found = cameras_from_encoding(torch.from_numpy(written), HEIGHT, WIDTH)
    np.testing.assert_allclose(found.world_to_camera[:, :3, :3], turns(6).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(found.world_to_camera[:, :, 3], np.ones((6, 4)))
    np.testing.assert_allclose(found.world_to_camera[:, 3, :3], 0)
    k = [[WIDTH / 2 / math.tan(0.6), 0, WIDTH / 2], [0, HEIGHT / 2 / math.tan(0.25), HEIGHT / 2], [0, 0, 1]]
    np.testing.assert_allclose(found.intrinsics, np.tile(k, (6, 1, 1)), atol=1e-12)
    again = cameras_from_encoding(encoding, HEIGHT, WIDTH)
    torch.testing.assert_close(again.world_to_camera, seen_by.world_to_camera)
    torch.testing.assert_close(again.intrinsics, seen_by.intrinsics)


def test_the_edges_of_the_picture_are_half_a_field_of_view_away() -> None:
    k = intrinsics_from_fov(*torch.tensor([[0.8], [1.4]], dtype=torch.float64), HEIGHT, WIDTH)[0]
    edges = {(WIDTH, HEIGHT / 2): (0.7, 0), (WIDTH / 2, HEIGHT): (0, 0.4), (0, 0): (-0.7, -0.4)}
    for (x, y), (right, down) in edges.items():
        ray = torch.linalg.solve(k, torch.tensor([x, y, 1.0]).double())
        assert math.atan(ray[0]) == pytest.approx(right, abs=1e-12)
        assert math.atan(ray[1]) == pytest.approx(down, abs=1e-12)


def test_pixels_are_numbered_by_column_then_row() -> None:
    for offset in (0.5, 0.0):
        grid = pixel_grid(2, 3, offset)
        assert grid.shape == (2, 3, 2)
        assert (grid[1, 2] - offset).tolist() == [2, 1] and (grid[0, 0] - offset).tolist() == [0, 0]
    assert torch.equal(pixel_grid(4, 5), pixel_grid(4, 5, 0.5))


@pytest.mark.parametrize("offset", [0.5, 0.0])
def test_points_go_back_to_their_pixels(offset: float) -> None:
    """One by one, by the definition."""
    seen_by = cameras(2, seed=3)
    depth = 1 + torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    points = unproject_depth(depth, seen_by, offset)
    for view in range(2):
        k, pose = (m[view].numpy() for m in (seen_by.intrinsics, seen_by.world_to_camera))
        for row, column in ((0, 0), (3, 1), (1, 4)):
            local = np.linalg.inv(k) @ [column + offset, row + offset, 1] * float(depth[view, row, column])
            world = pose[:3, :3].T @ (local - pose[:3, 3])
            np.testing.assert_allclose(points[view, row, column], world, atol=1e-12)
    pixels, z = project(points.flatten(1, 2), seen_by)
    torch.testing.assert_close(z.view_as(depth), depth)
    torch.testing.assert_close(pixels.view(2, 4, 5, 2), pixel_grid(4, 5, offset).double().expand(2, -1, -1, -1))
    turned = seen_by.world_to_camera * torch.tensor([1.0, 1, -1, 1])[:, None]
    behind, z = project(points.flatten(1, 2), Cameras(turned, seen_by.intrinsics))
    torch.testing.assert_close(z.view_as(depth), -depth)
    centre = torch.tensor([WIDTH / 2, HEIGHT / 2])
    torch.testing.assert_close(behind, 2 * centre - pixels)


def test_a_point_in_the_plane_of_the_camera_is_far_away_and_finite() -> None:
    seen_by = Cameras(torch.eye(4).double()[None], cameras(1).intrinsics)
    for z in (0.0, 1e-12, -1e-12):
        pixel, depth = project(torch.tensor([[[1.0, 0.0, z]]], dtype=torch.float64), seen_by)
        assert bool(pixel.isfinite().all()) and float(pixel[..., 0].abs()) > 1e8 and float(depth) == z


def test_quaternions_are_scipys_and_have_a_positive_scalar() -> None:
    """Random ones, and half turns about each axis and each diagonal, where three of the four formulas divide by nothing."""
    vectors = [*np.eye(3), *(np.array(v) / np.linalg.norm(v) for v in ([1, 1, 0], [1, 0, -1], [0, 1, 1], [1, -2, 3]))]
    half = Rotation.from_rotvec([angle * v for v in vectors for angle in (math.pi, math.pi - 1e-9, math.pi / 2, 1e-9)])
    for turn in (turns(200), half):
        matrix = torch.from_numpy(turn.as_matrix())
        found = quaternion_from_rotation(matrix)
        assert bool((found[:, 0] >= 0).all())
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(found)).double())
        expected = torch.from_numpy(np.roll(turn.as_quat(), 1, -1))
        sign = torch.sign((found * expected).sum(-1, keepdim=True))
        torch.testing.assert_close(found, sign * expected, atol=1e-9, rtol=0)
        torch.testing.assert_close(rotation_from_quaternion(-2.5 * found), matrix, atol=1e-9, rtol=0)


def test_angles_between_turns() -> None:
    first = turns(20)
    for angle in (0.0, 1e-7, 0.3, math.pi / 2, 3.0, math.pi):
        second = first * Rotation.from_rotvec(angle * np.array([2, -1, 2]) / 3)
        found = rotation_angle(*(torch.from_numpy(turn.as_matrix()) for turn in (first, second)))
        np.testing.assert_allclose(found, angle, atol=1e-12 if angle < 3 else 1e-7)


def sets_of_points(seed: int, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    source = random.normal(size=(40, 3)) * [1.0, 2.0, 0.5] + [3, -1, 2]
    target = 1.7 * source @ turns(1, seed).as_matrix()[0].T + [0.5, 4, -2] + 0.05 * random.normal(size=(40, 3))
    return source, target * ([1, 1, -1] if mirrored else [1, 1, 1])


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_similarity_turns_and_never_mirrors(seed: int, mirrored: bool, scaled: bool) -> None:
    """The turn is scipy's best one, and no other scale or translation fits better; mirror images are not undone."""
    source, target = sets_of_points(seed, mirrored)
    scale, rotation, translation = umeyama(torch.from_numpy(source), torch.from_numpy(target), scaled=scaled)
    assert float(torch.det(rotation)) == pytest.approx(1)
    x, y = source - source.mean(0), target - target.mean(0)
    best = Rotation.align_vectors(y, x)[0].as_matrix()
    np.testing.assert_allclose(rotation, best, atol=1e-9)
    # With the turn given, scale and translation are a line through the centroids.
    turned = x @ best.T
    wanted = (turned * y).sum() / (turned**2).sum() if scaled else 1.0
    assert float(scale) == pytest.approx(wanted)
    np.testing.assert_allclose(translation, target.mean(0) - wanted * best @ source.mean(0), atol=1e-9)


def test_single_precision_points_are_aligned_in_double() -> None:
    """Far from the origin, as cameras of maps are."""
    source, target = (part + 1e4 for part in sets_of_points(0, False))
    single = umeyama(*(torch.from_numpy(part).float() for part in (source, target)))
    double = umeyama(*(torch.from_numpy(part).float().double() for part in (source, target)))
    for low, high in zip(single, double, strict=True):
        assert low.dtype == torch.float32
        torch.testing.assert_close(low, high.float())
    one = torch.ones(5, 3).double()
    assert all(bool(part.isfinite().all()) for part in umeyama(one, 2 * one))


@pytest.mark.parametrize("frames", [None, 2])
def test_a_normalised_scene_starts_at_its_first_camera_and_is_one_away(frames: int | None) -> None:
    seen_by = cameras(6, seed=5)
    seen_by = Cameras(*(part.unflatten(0, (2, 3)) for part in (seen_by.world_to_camera, seen_by.intrinsics)))
    depth = 1 + torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(1)).double()
    depth[:, 2] *= 3
    normal, scaled, scale = normalise_scene(seen_by, depth, frames)
    away = (unproject_depth(depth, seen_by) - seen_by.centers[:, :1, None, None]).norm(dim=-1)
    mean = away[:, :frames].mean((1, 2, 3))
    torch.testing.assert_close(scale, mean)
    torch.testing.assert_close(scaled, depth / mean.view(2, 1, 1, 1))
    first = seen_by.world_to_camera[:, :1, :3, :3]
    torch.testing.assert_close(normal.world_to_camera[:, 0], torch.eye(4).double().expand(2, 4, 4))
    torch.testing.assert_close(normal.world_to_camera[..., :3, :3], seen_by.world_to_camera[..., :3, :3] @ first.mT)
    moved = (first @ (seen_by.centers - seen_by.centers[:, :1])[..., None])[..., 0]
    torch.testing.assert_close(normal.centers, moved / mean.view(2, 1, 1))
    assert torch.equal(normal.intrinsics, seen_by.intrinsics)
