"""Poses from rays and focal lengths: their sums are what they say, and what is found is a minimum of them, by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial.transform import Rotation

from vist3a.geometry.object_space_pose import _descend, _nearest_rotation, _ObjectSpaceForm, _starts, pose_from_rays
from vist3a.geometry.pointmap_cameras import cameras_from_pointmaps, focal_from_pointmap

FLOOR = 1e-3


def seen(count: int = 60, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points, the rays that see them (of any length), weights, and the pose, which may turn by any angle."""
    random = np.random.default_rng(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    move = np.array([0.3, -0.2, 6.0])
    points = random.normal(size=(count, 3)) * [1.0, 1.5, 0.7] + [2, -1, 0.5]
    local = points @ turn.T + move - turn @ [2, -1, 0.5]
    rays = local + noise * random.normal(size=local.shape)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, move - turn @ [2, -1, 0.5]
    return points, rays * random.uniform(0.2, 3, (count, 1)), random.uniform(0, 2, count), pose


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array)[None] for array in arrays]


def test_the_form_is_the_sum_of_squared_distances_to_the_rays_at_the_best_translation() -> None:
    points, rays, weights, _ = seen(20, noise=0.1)
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    form = _ObjectSpaceForm(*tensors(points, rays, weights))
    for seed in range(5):
        turn = Rotation.random(random_state=seed).as_matrix()
        # Projections across the rays: least squares in the translation, with the square roots of the weights.
        across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
        design = (np.sqrt(weights)[:, None, None] * across).reshape(-1, 3)
        wanted = -(np.sqrt(weights)[:, None] * (across @ (points @ turn.T)[..., None])[..., 0]).reshape(-1)
        translation, residual, *_ = np.linalg.lstsq(design, wanted, rcond=None)
        rotation = torch.from_numpy(turn)[None]
        np.testing.assert_allclose(form.translation(rotation)[0], translation, rtol=1e-8)
        np.testing.assert_allclose(
            form.placed(torch.from_numpy(points)[None], rotation)[0], points @ turn.T + translation
        )
        np.testing.assert_allclose(form.cost(rotation)[0], residual[0], rtol=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_a_descent_ends_where_the_slope_is_nothing(seed: int) -> None:
    points, rays, weights, _ = seen(30, noise=0.05, seed=seed)
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    form = _ObjectSpaceForm(*tensors(points, rays, weights))
    start = torch.from_numpy(Rotation.random(random_state=100 + seed).as_matrix())[None]
    found = _descend(form, start, 30)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).double()[None])
    assert float(torch.det(found)) == pytest.approx(1)
    assert float(form.cost(found)) <= float(form.cost(start))

    def cost(vector: np.ndarray) -> float:
        return float(form.cost(found @ torch.from_numpy(Rotation.from_rotvec(vector).as_matrix())))

    at, size = cost(np.zeros(3)), 1e-4
    slopes = [(cost(size * axis) - cost(-size * axis)) / (2 * size) for axis in np.eye(3)]
    bends = [(cost(size * axis) + cost(-size * axis) - 2 * at) / size**2 for axis in np.eye(3)]
    assert max(map(abs, slopes)) < 1e-4 * max(bends)
    # Few steps go nearly all the way, as a second-order method does.
    assert float(
        form.cost(_descend(form, found @ torch.from_numpy(Rotation.from_rotvec([0.1, 0, 0.1]).as_matrix()), 4))
    ) == (pytest.approx(at, rel=1e-2))


def test_no_step_of_a_descent_goes_up() -> None:
    """From far away, where steps overshoot: more steps are never worse."""
    points, rays, weights, _ = seen(30, noise=0.05)
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    count = 40
    form = _ObjectSpaceForm(*(part.expand(count, *part.shape[1:]) for part in tensors(points, rays, weights)))
    start = torch.from_numpy(Rotation.random(count, random_state=5).as_matrix())
    costs = torch.stack([form.cost(_descend(form, start, steps)) for steps in range(10)])
    assert bool((costs.diff(dim=0) <= 0).all()) and bool((costs.diff(dim=0) == 0).any())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("flat", [False, True])
def test_a_start_is_the_pose_itself_where_the_data_are_exact(seed: int, flat: bool) -> None:
    """By the direct linear solution, or for points on a plane by the one for planes."""
    points, rays, weights, pose = seen(30, seed=seed)
    if flat:
        points[:, 2] = 0
        rays = points @ pose[:3, :3].T + pose[:3, 3] + [0, 0, 4]
    middle = points.mean(0)
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    form = _ObjectSpaceForm(*tensors(points - (0 if flat else middle), rays, weights))
    linear, planar, *turns = _starts(form, torch.eye(3).double()[None])
    found = (planar if flat else linear)[0]
    np.testing.assert_allclose(found, pose[:3, :3], atol=1e-6)
    # Beside them the identity and its half turns.
    halves = [np.diag(d) for d in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1])]
    assert len(turns) == 4
    for half in halves:
        assert any(np.allclose(turn[0], half) for turn in turns)


def test_the_nearest_rotation_is_scipys() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        matrix = random.normal(size=(3, 3))
        best = Rotation.align_vectors(matrix.T, np.eye(3))[0].as_matrix()
        np.testing.assert_allclose(_nearest_rotation(torch.from_numpy(matrix)[None])[0], best, atol=1e-9)


def sum_of_sines(pose: np.ndarray, points: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> float:
    local = points @ pose[:3, :3].T + pose[:3, 3]
    sines = np.linalg.norm(np.cross(local, rays), axis=1) / np.linalg.norm(local, axis=1) / np.linalg.norm(rays, axis=1)
    # Below the floor the reweighted squares are a parabola.
    rounded = np.where(sines < FLOOR, sines**2 / (2 * FLOOR) + FLOOR / 2, sines)
    return float((weights * rounded).sum() / weights.sum())


@pytest.mark.parametrize("seed", range(2))
def test_the_pose_is_a_minimum_of_the_sum_of_angles(seed: int) -> None:
    """With a tenth of strays, which move the least squares but hardly this: scipy finds nothing better nearby."""
    points, rays, weights, pose = seen(80, noise=0.01, seed=seed)
    rays[::10] = np.random.default_rng(9).normal(size=(8, 3)) + np.array([0, 0, 3])
    arguments = tensors(points, rays, weights)
    found = pose_from_rays(*arguments, torch.tensor([FLOOR]).double(), rounds=25)[0].numpy()
    assert np.allclose(found[3], [0, 0, 0, 1])
    assert np.linalg.norm(Rotation.from_matrix(found[:3, :3] @ pose[:3, :3].T).as_rotvec()) < 0.01
    assert np.linalg.norm(found[:3, 3] - pose[:3, 3]) < 0.05

    def moved(change: np.ndarray) -> float:
        other = found.copy()
        other[:3, :3] = Rotation.from_rotvec(change[:3]).as_matrix() @ found[:3, :3]
        other[:3, 3] += change[3:]
        return sum_of_sines(other, points, rays, weights)

    best = minimize(
        moved, np.zeros(6), method="Nelder-Mead", options={"initial_simplex": np.eye(7, 6) / 1000, "maxiter": 250}
    )
    assert moved(np.zeros(6)) <= best.fun * 1.002
    # Points of no weight do not count, and neither does the length of a ray, the unit of the world or the batch.
    ignored = np.r_[weights, np.zeros(5)]
    more = tensors(np.r_[points, 50 * np.ones((5, 3))] * 7, np.r_[rays, np.ones((5, 3))] * 0.1, ignored)
    again = pose_from_rays(*(torch.cat([m, m]) for m in more), torch.tensor([FLOOR, FLOOR]).double(), rounds=25)
    for one in again.numpy():
        np.testing.assert_allclose(one[:3, :3], found[:3, :3], atol=1e-6)
        np.testing.assert_allclose(one[:3, 3], 7 * found[:3, 3], atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_focal_length_is_a_minimum_of_the_weighted_distances(seed: int) -> None:
    """Also where the map is wider than high, with points behind the camera and weights of its own."""
    random = np.random.default_rng(seed)
    height, width, focal = 12, 20, 17.0
    y, x = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([x - width / 2, y - height / 2], -1)
    z = random.uniform(1, 3, (height, width))
    points = np.concatenate([pixels / focal * z[..., None], z[..., None]], -1) + 0.05 * random.normal(
        size=(height, width, 3)
    )
    points[:2] *= -1
    weights = random.uniform(0, 1, (height, width))
    found = float(focal_from_pointmap(*tensors(points, weights), rounds=60)[0])

    def cost(f: float) -> float:
        front = points[..., 2] > 0
        p, w, q = points[front], weights[front], pixels[front]
        apart = np.linalg.norm(q - f * p[:, :2] / p[:, 2:], axis=1)
        rounded = np.where(apart < 0.01, apart**2 / 0.02 + 0.005, apart)
        return float((w * rounded * p[:, 2] / np.linalg.norm(p, axis=1)).sum())

    best = minimize_scalar(cost, bounds=(5, 60), method="bounded", options={"xatol": 1e-6})
    assert found == pytest.approx(best.x, rel=2e-4)
    # The second one of a batch has its own.
    both = focal_from_pointmap(*(torch.cat([2 * t, t]) for t in tensors(points, weights)), rounds=60)
    assert both.tolist() == pytest.approx([found, found])


@pytest.mark.parametrize(("scale", "degrees"), [(1e-3, 150.0), (1e3, 5.0)])
def test_focal_lengths_stay_within_five_and_a_hundred_and_fifty_degrees(scale: float, degrees: float) -> None:
    """Of the longer side."""
    z = torch.ones(1, 1, 8, 12).double()
    x = torch.linspace(-1, 1, 12).double().expand(1, 1, 8, 12) / scale
    cameras = cameras_from_pointmaps(torch.stack([x, 0 * x, z], -1), torch.ones_like(z))
    k = cameras.intrinsics[0, 0]
    assert float(k[0, 0]) == float(k[1, 1]) == pytest.approx(6 / math.tan(math.radians(degrees) / 2))
    assert k[:2, 2].tolist() == [6, 4] and k[2].tolist() == [0, 0, 1]
