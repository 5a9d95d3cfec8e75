"""Surfaces against SciPy's nearest neighbours, closed forms, and their independence of world, unit and order of views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.geometry.similarity import umeyama
from vist3a.metrics.pointmap import nearest
from vist3a.metrics.surface import errors_between, f_score, grid_normals, icp, surface_errors


def wavy(seed: int, views: int = 2, size: int = 12) -> torch.Tensor:
    """Point maps of a smooth surface, a patch of it per view."""
    generator = torch.Generator().manual_seed(seed)
    phase = torch.rand(2, generator=generator, dtype=torch.float64)
    axis = torch.linspace(0, 1, size, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    maps = [
        torch.stack([x + i, y, 0.3 * torch.sin(3 * (x + i) + phase[0]) * torch.cos(4 * y + phase[1])], -1)
        for i in range(views)
    ]
    return torch.stack(maps)


def turned(points: torch.Tensor, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rotation = rotation_from_quaternion(torch.randn(4, generator=generator, dtype=torch.float64))
    return scale * points @ rotation.T + torch.randn(3, generator=generator, dtype=torch.float64)


def noisy(points: torch.Tensor, seed: int, size: float = 0.01) -> torch.Tensor:
    return points + size * torch.randn(points.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 10**6), chunk=st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_nearest_equals_scipy(seed, chunk):
    generator = torch.Generator().manual_seed(seed)
    source, target = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (50, 40))
    distance, index = nearest(source, target, chunk)
    expected, place = cKDTree(target.numpy()).query(source.numpy())
    np.testing.assert_allclose(distance, expected, rtol=1e-12)
    np.testing.assert_array_equal(index, place)


@pytest.mark.parametrize(("noise", "threshold"), [(0.01, 0.012), (0.15, 0.1)])
def test_equals_scipy_and_numpy_after_the_same_alignment(noise, threshold):
    """Also with so much noise that normals look either way."""
    target, prediction = wavy(0), turned(noisy(wavy(0), 1, noise), 2, 0.4)
    errors = surface_errors(prediction, target, threshold)
    s, r, t = umeyama(prediction.reshape(-1, 3), target.reshape(-1, 3))
    ours, true = (s * prediction.reshape(-1, 3) @ r.T + t).numpy(), target.reshape(-1, 3).numpy()
    forth, there = cKDTree(true).query(ours)
    back, here = cKDTree(ours).query(true)
    np.testing.assert_allclose([errors.accuracy, errors.completeness], [forth.mean(), back.mean()], rtol=1e-9)
    precision, recall = (forth < threshold).mean(), (back < threshold).mean()
    assert 0.1 < precision < 0.9
    np.testing.assert_allclose(errors.f_score, 2 * precision * recall / (precision + recall), rtol=1e-9)
    ours_n = grid_normals(s * prediction @ r.T + t).reshape(-1, 3).numpy()
    true_n = grid_normals(target).reshape(-1, 3).numpy()
    cosines = [np.abs((ours_n * true_n[there]).sum(-1)), np.abs((true_n * ours_n[here]).sum(-1))]
    np.testing.assert_allclose(errors.normals, np.mean([np.nanmean(c) for c in cosines]), rtol=1e-9)

    def lower_median(values):
        return np.sort(values[np.isfinite(values)])[(np.isfinite(values).sum() - 1) // 2]

    np.testing.assert_allclose(errors.normals_median, np.mean([lower_median(c) for c in cosines]), rtol=1e-9)
    np.testing.assert_allclose(errors.accuracy_median, lower_median(forth), rtol=1e-9)
    np.testing.assert_allclose(errors.completeness_median, lower_median(back), rtol=1e-9)
    far = surface_errors(prediction, target, threshold=1e-9)
    assert far.f_score == 0 and far.accuracy == pytest.approx(errors.accuracy)


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10))
@settings(max_examples=15, deadline=None)
def test_the_world_the_unit_and_the_order_of_views_do_not_count(seed, scale):
    target, prediction = wavy(3, views=3, size=8), noisy(wavy(3, views=3, size=8), seed)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    plain = surface_errors(prediction, target, 0.01, icp_distance=0.1)
    other = surface_errors(turned(prediction, seed, scale)[order], target[order], 0.01, icp_distance=0.1)
    for name, value in vars(plain).items():
        # The lower median of an even count, and the shares of a threshold, may move by one point on rounding.
        assert getattr(other, name) == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_a_perfect_surface():
    errors = surface_errors(turned(wavy(4), 5, 3.0), wavy(4), 1e-6, icp_distance=0.1)
    assert errors.accuracy < 1e-9 and errors.completeness < 1e-9
    assert errors.f_score == 1 and errors.normals == pytest.approx(1)


def test_points_that_do_not_count_do_not_change_anything():
    target, prediction = wavy(6), noisy(wavy(6), 7)
    valid = torch.ones(target.shape[:3], dtype=torch.bool)
    valid[0, 3:5, 2:6] = False
    broken = prediction.clone()
    broken[~valid] = 1e3
    assert surface_errors(broken, target, 0.01, valid) == surface_errors(prediction, target, 0.01, valid)
    with pytest.raises(ValueError, match="0 points to compare"):
        surface_errors(prediction, target, 0.01, torch.zeros_like(valid))


def test_normals_of_a_sloping_plane_in_closed_form():
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    plane = torch.stack([x, y, 2 * x - y], -1)
    normals = grid_normals(plane)
    expected = torch.tensor([-2.0, 1.0, 1.0]) / 6**0.5
    torch.testing.assert_close(normals[1:-1, 1:-1], expected.expand(3, 4, 3))
    assert normals[0].isnan().all()


def test_icp_finds_a_small_motion_and_leaves_far_points_out():
    target = wavy(8, size=16).reshape(-1, 3)
    half = torch.tensor(0.02, dtype=torch.float64)
    turn = rotation_from_quaternion(torch.stack([half.cos(), half.sin() * 0.6, half.sin() * 0, half.sin() * 0.8]))
    source = (target - torch.tensor([0.01, -0.02, 0.01], dtype=torch.float64)) @ turn
    outliers = source[:20] + torch.tensor([0.0, 0.0, 5.0], dtype=torch.float64)
    rotation, translation = icp(torch.cat([source, outliers]), target, distance=0.5, steps=100)
    assert (source @ rotation.T + translation - target).norm(dim=-1).max() < 2e-3
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))


def test_the_best_rigid_motion_has_no_scale():
    source = wavy(9).reshape(-1, 3)
    scale, rotation, translation = umeyama(source, turned(source, 1), scaled=False)
    torch.testing.assert_close(scale * source @ rotation.T + translation, turned(source, 1))
    assert umeyama(source, 3 * source, scaled=False)[0] == 1


def test_a_point_at_the_threshold_is_not_near():
    """Distances that are exact in binary: two of four predicted and one of two true points are nearer than 1."""
    forth, back = torch.tensor([0.0, 0.5, 1.0, 2.0]), torch.tensor([0.25, 1.0])
    assert f_score(forth, back, 1.0) == 0.5
    assert f_score(forth, back, 1.5) == pytest.approx(2 * 0.75 / 1.75)
    assert f_score(forth, back, 0.0) == 0


def test_icp_takes_pairs_nearer_than_its_distance_and_needs_three():
    """Corners of a square of side 10, all exactly 1 from their own."""
    target = torch.tensor([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [10, 10, 0]], dtype=torch.float64)
    source = target + torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert torch.equal(icp(source, target, 1.0)[1], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(icp(source, target, 1.5)[1], torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(icp(source[:3], target, 1.5)[1], torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64))
    assert torch.equal(icp(source[:2], target, 1.5)[1], torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize(("tolerance", "distance"), [(0.3, 0.2), (0.05, 0.2), (0.05, 0.03)])
def test_icp_stops_where_its_error_hardly_changes(tolerance, distance, monkeypatch):
    """Step by step, with SciPy's nearest neighbors; in the last case the error rises once, as more pairs count."""
    monkeypatch.setattr("vist3a.metrics.surface.ICP_TOLERANCE", tolerance)
    target = wavy(11).reshape(-1, 3)
    source = noisy(target, 12, 0.03) + torch.tensor([0.06, -0.05, 0.04]).double()
    rotation, translation, before, steps, errors = np.eye(3), np.zeros(3), np.inf, 0, []
    while True:
        moved = source.numpy() @ rotation.T + translation
        apart, index = cKDTree(target.numpy()).query(moved)
        near = apart < distance
        error = (apart[near] ** 2).mean()
        errors.append(error)
        if abs(before - error) <= tolerance * error:
            break
        before, steps = error, steps + 1
        ours, true = source.numpy()[near], target.numpy()[index[near]]
        u, _, vt = np.linalg.svd((true - true.mean(0)).T @ (ours - ours.mean(0)))
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        translation = true.mean(0) - rotation @ ours.mean(0)
    found = icp(source, target, distance)
    np.testing.assert_allclose(found[0], rotation, atol=1e-9)
    np.testing.assert_allclose(found[1], translation, atol=1e-9)
    assert (np.diff(errors) > 0).any() == (distance == 0.03)
    further = icp(source, target, distance, steps)
    assert 1 < steps < 30 and torch.equal(further[0], found[0])
    assert not torch.allclose(icp(source, target, distance, steps - 1)[1], found[1], atol=1e-6)


def test_icp_changes_no_size() -> None:
    """Corners of a square beside the origin, and those of a larger one around the same middle: nothing moves."""
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [-1, 1, 0], [1, 1, 0]], dtype=torch.float64)
    middle = torch.tensor([5.0, 2, 1], dtype=torch.float64)
    rotation, translation = icp(corners + middle, 1.2 * corners + middle, 1.0)
    torch.testing.assert_close(rotation, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(translation, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_three_points_can_be_compared_and_two_cannot():
    points = wavy(10, views=1)
    valid = torch.zeros(points.shape[:3], dtype=torch.bool)
    valid[0, 2, 3] = valid[0, 5, 7] = True
    with pytest.raises(ValueError, match="2 points to compare; at least 3"):
        surface_errors(points, points, 0.1, valid)
    valid[0, 9, 1] = True
    assert surface_errors(points, points, 0.1, valid).accuracy < 1e-9


def test_concentric_spheres_by_any_search() -> None:
    """Radii differ by a tenth and normals agree, one of them unknown; a tree finds what the exact search does."""
    directions = torch.nn.functional.normalize(
        torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1
    )
    normals = directions.clone()
    normals[0] = torch.nan

    def tree(source: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        distance, index = cKDTree(target.numpy()).query(source.numpy())
        return torch.from_numpy(distance), torch.from_numpy(index)

    found = errors_between(1.1 * directions, -normals, directions, directions, 0.101)
    assert found.accuracy == pytest.approx(0.1) and found.completeness <= 0.1 + 1e-9
    assert found.accuracy_median == pytest.approx(0.1) and found.f_score == 1
    assert found.normals == pytest.approx(1, abs=0.01) and found.normals_median == pytest.approx(1)
    assert errors_between(1.1 * directions, -normals, directions, directions, 0.09).f_score < 0.5
    other = errors_between(1.1 * directions, -normals, directions, directions, 0.101, tree)
    assert vars(other) == pytest.approx(vars(found))
