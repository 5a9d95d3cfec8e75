"""Several batch axes, single precision, half turns and strays so far away that nothing else counts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vist3a.geometry.normalisation import normalise_scene
from vist3a.geometry.pointmap_cameras import cameras_from_pointmaps, focal_from_pointmap
from vist3a.geometry.pose_encoding import cameras_from_encoding, encoding_from_cameras, encodings_of
from vist3a.geometry.projection import project, unproject_depth
from vist3a.geometry.quaternion import (
    quaternion_from_rotation,
    rotation_angle,
    rotation_from_quaternion,
    wxyz_from_xyzw,
    xyzw_from_wxyz,
)
from vist3a.geometry.similarity import umeyama
from vist3a.geometry.spherical_harmonics import color_from_harmonics, harmonics_basis, harmonics_from_color
from vist3a.records import Cameras, Reconstruction


def test_quaternions_of_several_batch_axes_are_those_of_each_matrix() -> None:
    turns = Rotation.random(24, random_state=1)
    matrices = torch.from_numpy(turns.as_matrix()).view(2, 3, 4, 3, 3)
    found = quaternion_from_rotation(matrices)
    expected = turns.as_quat(canonical=True)
    np.testing.assert_allclose(found.reshape(24, 4), np.roll(expected, 1, 1), atol=1e-12)
    torch.testing.assert_close(rotation_from_quaternion(found), matrices)
    torch.testing.assert_close(xyzw_from_wxyz(found).reshape(24, 4), torch.from_numpy(expected))
    torch.testing.assert_close(wxyz_from_xyzw(xyzw_from_wxyz(found)), found)
    other = torch.from_numpy(Rotation.random(24, random_state=2).as_matrix()).view_as(matrices)
    apart = (turns * Rotation.random(24, random_state=2).inv()).magnitude()
    np.testing.assert_allclose(rotation_angle(matrices, other).flatten(), apart, atol=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_a_half_turn_has_a_positive_axis(axis: int) -> None:
    """Where the scalar is nothing, no sign is changed."""
    matrix = -torch.eye(3, dtype=torch.float64)
    matrix[axis, axis] = 1
    expected = torch.zeros(4, dtype=torch.float64)
    expected[1 + axis] = 1
    assert quaternion_from_rotation(matrix).tolist() == expected.tolist()
    assert float(rotation_angle(torch.eye(3, dtype=torch.float64), matrix)) == pytest.approx(math.pi)


def test_encodings_of_several_batch_axes_and_lenses() -> None:
    random = np.random.default_rng(3)
    pose = torch.eye(4, dtype=torch.float64).repeat(2, 3, 1, 1)
    pose[..., :3, :3] = torch.from_numpy(Rotation.random(6, random_state=4).as_matrix()).view(2, 3, 3, 3)
    pose[..., :3, 3] = torch.from_numpy(random.normal(size=(2, 3, 3)))
    k = torch.eye(3, dtype=torch.float64).repeat(2, 3, 1, 1)
    k[..., 0, 0], k[..., 1, 1] = torch.from_numpy(random.uniform(10, 30, (2, 2, 3)))
    k[..., 0, 2], k[..., 1, 2] = 6, 4
    encoding = encoding_from_cameras(Cameras(pose, k), 8, 12)
    assert encoding.shape == (2, 3, 9)
    again = cameras_from_encoding(encoding, 8, 12)
    torch.testing.assert_close(again.world_to_camera, pose)
    torch.testing.assert_close(again.intrinsics, k)
    maps = torch.ones(2, 3, 8, 12, dtype=torch.float64)
    bare = Reconstruction(Cameras(pose, k), maps, maps, maps[..., None].expand(2, 3, 8, 12, 3), maps)
    assert torch.equal(encodings_of(bare), encoding[None])
    assert encodings_of(replace(bare, pose_encodings=2 * encoding[None])).equal(2 * encoding[None])
    # Points and depths of every camera, one by one.
    depth = torch.from_numpy(random.uniform(1, 2, (2, 3, 8, 12)))
    points = unproject_depth(depth, again)
    pixels, z = project(points.flatten(2, 3), again)
    for b, v in np.ndindex(2, 3):
        one = Cameras(pose[b, v], k[b, v])
        torch.testing.assert_close(points[b, v], unproject_depth(depth[b, v], one))
        alone, far = project(points[b, v].flatten(0, 1), one)
        torch.testing.assert_close(pixels[b, v], alone)
        torch.testing.assert_close(z[b, v], far)


def pointmaps(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(5)
    pose = torch.eye(4, dtype=torch.float64).repeat(2, 3, 1, 1)
    turns = Rotation.from_rotvec(0.15 * random.normal(size=(4, 3))).as_matrix()
    pose[:, 1:, :3, :3] = torch.from_numpy(turns).view(2, 2, 3, 3)
    pose[:, 1:, :3, 3] = torch.from_numpy(0.1 * random.normal(size=(2, 2, 3)))
    k = torch.tensor([[14.0, 0, 8], [0, 14.0, 5], [0, 0, 1]], dtype=torch.float64).repeat(2, 3, 1, 1)
    k[1, :, 0, 0] = k[1, :, 1, 1] = 20
    points = unproject_depth(torch.from_numpy(random.uniform(1, 2, (2, 3, 10, 16))), Cameras(pose, k))
    points = points + 0.02 * torch.from_numpy(random.normal(size=points.shape))
    return points.to(dtype), torch.from_numpy(random.uniform(0.2, 2, (2, 3, 10, 16))).to(dtype)


def test_single_precision_maps_are_read_in_double() -> None:
    points, trust = pointmaps(torch.float32)
    found, exact = cameras_from_pointmaps(points, trust), cameras_from_pointmaps(points.double(), trust.double())
    assert found.world_to_camera.dtype == torch.float32
    assert torch.equal(found.world_to_camera, exact.world_to_camera.float())
    assert torch.equal(found.intrinsics, exact.intrinsics.float())
    # Every scene has a focal length and poses of its own, whatever is beside it; points without trust have no say.
    for scene in range(2):
        alone = cameras_from_pointmaps(points[scene : scene + 1], trust[scene : scene + 1])
        torch.testing.assert_close(found.world_to_camera[scene], alone.world_to_camera[0])
        torch.testing.assert_close(found.intrinsics[scene], alone.intrinsics[0])
    strays, broken = points.clone(), points.clone()
    strays[:, :, 2:5, 3:6] = 7.0
    broken[:, :, 2:5, 3:6, 1] = math.nan
    zero, unknown = trust.clone(), trust.clone()
    zero[:, :, 2:5, 3:6] = 0.0
    unknown[:, :, 2:5, 3:6] = math.inf
    expected = cameras_from_pointmaps(strays, zero)
    for given in ((broken, trust), (strays, unknown)):
        other = cameras_from_pointmaps(*given)
        torch.testing.assert_close(other.world_to_camera, expected.world_to_camera)
        torch.testing.assert_close(other.intrinsics, expected.intrinsics)


def test_points_a_million_times_nearer_than_the_mean_do_not_count() -> None:
    """One column lies so far away that the mean of the whole map makes all others nothing; it alone gives the focal length."""
    y, x = torch.meshgrid(torch.arange(4) + 0.5, torch.arange(6) + 0.5, indexing="ij")
    pixels = torch.stack([x - 3, y - 2], -1).double()
    near, far = (torch.cat([pixels / focal, torch.ones(4, 6, 1).double()], -1) for focal in (5.0, 8.0))
    points = near.clone()
    points[:, 5] = 1e9 * far[:, 5]
    weights = torch.ones(1, 4, 6, dtype=torch.float64)
    assert float(focal_from_pointmap(points[None], weights)) == pytest.approx(8.0)
    points[:, 5] = 1e5 * far[:, 5]
    assert float(focal_from_pointmap(points[None], weights)) == pytest.approx(5.0, abs=0.5)


def test_a_scene_of_points_at_the_camera_has_a_scale() -> None:
    """Nothing is divided by nothing, and depths of each scene have a scale of their own."""
    k = torch.tensor([[9.0, 0, 3], [0, 9.0, 2], [0, 0, 1]], dtype=torch.float64).repeat(2, 2, 1, 1)
    cameras = Cameras(torch.eye(4, dtype=torch.float64).repeat(2, 2, 1, 1), k)
    depth = torch.zeros(2, 2, 4, 6, dtype=torch.float64)
    depth[1] = 2.0
    normal, scaled, scale = normalise_scene(cameras, depth)
    assert float(scale[0]) == 1e-8 and float(scale[1]) > 2
    assert bool(normal.world_to_camera.isfinite().all()) and bool(scaled.isfinite().all())


def test_a_similarity_of_one_place_stands_still() -> None:
    place = torch.tensor([[1.0, 2.0, 3.0]]).double().expand(4, 3)
    scale, rotation, translation = umeyama(place, place + 1)
    assert bool(scale.isfinite()) and float(torch.det(rotation)) == pytest.approx(1)
    torch.testing.assert_close(scale * rotation @ place[0] + translation, place[0] + 1)


def test_harmonics_of_several_batch_axes() -> None:
    random = torch.Generator().manual_seed(6)
    directions = torch.randn(2, 3, 3, generator=random, dtype=torch.float64)
    unit = directions / directions.norm(dim=-1, keepdim=True)
    harmonics = torch.randn(2, 3, 16, 3, generator=random, dtype=torch.float64)
    basis = harmonics_basis(unit, 3)
    found = color_from_harmonics(harmonics, directions)
    for place in np.ndindex(2, 3):
        assert torch.equal(basis[place], harmonics_basis(unit[place], 3))
        expected = (0.5 + basis[place] @ harmonics[place]).clamp(min=0)
        torch.testing.assert_close(found[place], expected)
    color = torch.rand(2, 3, 3, generator=random, dtype=torch.float64)
    flat = harmonics_from_color(color, 9)
    assert flat.shape == (2, 3, 9, 3) and not flat[..., 1:, :].any()
    torch.testing.assert_close(flat[..., 0, :], (color - 0.5) * 2 * math.sqrt(math.pi))
