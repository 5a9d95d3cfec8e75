"""Geometry rewards against closed forms in float64, and their gradients."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vist3a.alignment.rewards.base import Views
from vist3a.alignment.rewards.geometry import (
    CameraMotion,
    CameraSmoothness,
    PointmapCameraConsistency,
    ReprojectionConsistency,
)
from vist3a.geometry.projection import unproject_depth
from vist3a.records import Reconstruction
from vist3a.records.cameras import Cameras

HEIGHT, WIDTH, FOCAL = 10, 14, 12.0


def cameras(centers: Tensor, rotations: Tensor | None = None) -> Cameras:
    """World to camera of centres [batch, views, 3]; the same focal length everywhere."""
    batch, views, _ = centers.shape
    rotations = torch.eye(3, dtype=centers.dtype).expand(batch, views, 3, 3) if rotations is None else rotations
    pose = torch.eye(4, dtype=centers.dtype).repeat(batch, views, 1, 1)
    pose[..., :3, :3] = rotations
    pose[..., :3, 3] = -(rotations @ centers[..., None])[..., 0]
    intrinsics = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], dtype=centers.dtype)
    return Cameras(pose, intrinsics.expand(batch, views, 3, 3))


def views(seen_by: Cameras, depth: Tensor, points: Tensor | None = None) -> Views:
    points = unproject_depth(depth, seen_by) if points is None else points
    encodings = depth.new_zeros(1, *depth.shape[:2], 9)
    scene = Reconstruction(seen_by, depth, torch.ones_like(depth), points, torch.ones_like(depth), encodings)
    return Views(None, None, ("a",) * len(depth), scene)


def plane(count: int = 6, step: float = 0.05, distance: float = 2.0) -> tuple[Cameras, Tensor]:
    """A wall that faces a camera moving sideways."""
    centers = torch.zeros(1, count, 3, dtype=torch.float64)
    centers[..., 0] = step * torch.arange(count)
    return cameras(centers), torch.full((1, count, HEIGHT, WIDTH), distance, dtype=torch.float64)


def about_y(angles: Tensor) -> Tensor:
    """Rotation matrices [1, views, 3, 3]."""
    c, s, zero, one = angles.cos(), angles.sin(), torch.zeros_like(angles), torch.ones_like(angles)
    return torch.stack([c, zero, s, zero, one, zero, -s, zero, c], -1).unflatten(-1, (3, 3))[None]


def test_views_that_agree_cost_nothing() -> None:
    seen_by, depth = plane()
    assert float(ReprojectionConsistency()(views(seen_by, depth))) == pytest.approx(0, abs=1e-12)
    # Half a thousandth of the width is rounded off.
    assert float(PointmapCameraConsistency()(views(seen_by, depth))) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.02, 3.0])
def test_a_view_with_another_depth_costs_the_closed_form(factor: float) -> None:
    """Of the pairs (0, 1), (1, 2) and back, view 2's depth is off in the pairs 1-2 and 2-1."""
    seen_by, depth = plane(3, step=0.0)
    points = unproject_depth(depth, seen_by)
    scaled = depth.clone()
    scaled[:, 2] *= factor
    score = ReprojectionConsistency(gap=1, tolerance=0.05)(views(seen_by, scaled, points))
    error = abs(factor - 1) / (factor + 1)
    # The points are right everywhere, the depth of view 2 is not: one pair of four.
    assert float(score) == pytest.approx(-error / (error + 0.05) / 4, rel=1e-9)


def test_views_without_a_common_point_cost_one() -> None:
    seen_by, depth = plane(2, step=100.0)
    assert float(ReprojectionConsistency()(views(seen_by, depth))) == -1
    assert float(ReprojectionConsistency()(views(seen_by[:, :1], depth[:, :1]))) == 0


def test_hidden_surfaces_cost_at_most_one_per_pixel() -> None:
    seen_by, depth = plane()
    depth[..., 5:9] = 0.01
    assert -1 < float(ReprojectionConsistency()(views(seen_by, depth))) < 0


def test_shifted_points_cost_their_shift_in_widths() -> None:
    seen_by, depth = plane()
    points = unproject_depth(depth, seen_by)
    points[..., 0] += 0.5 * 2.0 / FOCAL  # half a pixel at distance 2
    distance = math.hypot(0.5 / WIDTH, 5e-4) - 5e-4
    score = PointmapCameraConsistency()(views(seen_by, depth, points))
    assert float(score) == pytest.approx(-distance / (1 + distance / 0.1), rel=1e-9)
    behind = PointmapCameraConsistency()(views(seen_by, depth, -points))
    assert float(behind) == pytest.approx(-0.1)


def test_a_steady_camera_is_smooth_in_any_unit() -> None:
    angles = 0.1 * torch.arange(6, dtype=torch.float64)
    centers = torch.arange(6, dtype=torch.float64)[None, :, None] * torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)
    depth = torch.ones(1, 6, 2, 2, dtype=torch.float64)
    assert float(CameraSmoothness()(views(cameras(centers, about_y(angles)), depth))) == pytest.approx(0, abs=1e-12)
    shaken = centers + torch.randn(centers.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second = (float(CameraSmoothness()(views(cameras(c), depth))) for c in (shaken, 7 * shaken))
    assert first < -0.1
    assert second == pytest.approx(first, rel=1e-9)


def test_a_camera_that_goes_back_and_forth_costs_four() -> None:
    """Steps +1, -1, +1: changes of 2, squared and relative to a squared step of 1."""
    centers = torch.zeros(1, 4, 3, dtype=torch.float64)
    centers[0, 1::2, 0] = 1
    depth = torch.ones(1, 4, 2, 2, dtype=torch.float64)
    assert float(CameraSmoothness()(views(cameras(centers), depth))) == pytest.approx(-4)
    assert float(CameraSmoothness()(views(cameras(centers[:, :2]), depth[:, :2]))) == 0


def test_a_change_of_turning_costs_its_angle() -> None:
    angles = torch.tensor([0.0, 0.0, 0.2], dtype=torch.float64)
    seen_by = cameras(torch.zeros(1, 3, 3, dtype=torch.float64), about_y(angles))
    score = CameraSmoothness()(views(seen_by, torch.ones(1, 3, 2, 2, dtype=torch.float64)))
    assert float(score) == pytest.approx(-2 * (1 - math.cos(0.2)), rel=1e-9)


@pytest.mark.parametrize("term", [ReprojectionConsistency(gap=2), PointmapCameraConsistency(), CameraSmoothness()])
def test_gradients_are_those_of_finite_differences(term: object) -> None:
    generator = torch.Generator().manual_seed(3)
    seen_by, depth = plane(4)
    depth = depth + 0.1 * torch.rand(depth.shape, dtype=torch.float64, generator=generator)
    moved = seen_by.world_to_camera.clone()
    moved[..., :3, 3] += 0.02 * torch.randn(1, 4, 3, dtype=torch.float64, generator=generator)
    points = unproject_depth(depth, seen_by)
    points = points + 0.01 * torch.randn(points.shape, dtype=torch.float64, generator=generator)

    def score(depth: Tensor, points: Tensor, pose: Tensor) -> Tensor:
        return term(views(Cameras(pose, seen_by.intrinsics), depth, points))  # type: ignore[operator]

    inputs = tuple(x.clone().requires_grad_(True) for x in (depth, points, moved))
    assert torch.autograd.gradcheck(score, inputs, fast_mode=True, eps=1e-7, atol=1e-5)
    gradients = torch.autograd.grad(score(*inputs).sum(), inputs, allow_unused=True)
    assert all(g is None or bool(g.isfinite().all()) for g in gradients)
    assert any(g is not None and float(g.abs().max()) > 0 for g in gradients)


def test_a_path_that_is_too_short_costs_the_share_that_it_lacks() -> None:
    """A wall at distance 2: nine views, 0.05 apart, of which every fourth counts."""
    seen_by, depth = plane(count=9)
    path = 8 * 0.05 / 2
    for wanted in (path / 2, path, 2 * path, 5 * path):
        score = float(CameraMotion(wanted)(views(seen_by, depth)))
        assert score == pytest.approx(-max(0.0, 1 - path / wanted), abs=1e-6)
    still, depth = plane(count=9, step=0.0)
    assert float(CameraMotion(0.2)(views(still, depth))) == pytest.approx(-1, abs=1e-6)
    # The unit follows the scene: the same film of a scene twice as large.
    assert float(CameraMotion(2 * path)(views(cameras(2 * seen_by.centers), 2 * depth))) == pytest.approx(-0.5)


def test_in_a_step_the_mean_path_is_held_and_every_camera_is_asked_to_go_further() -> None:
    seen_by, depth = plane(count=9)
    path = 8 * 0.05 / 2
    both = views(cameras(torch.cat([seen_by.centers, 3 * seen_by.centers])), depth.repeat(2, 1, 1, 1))
    for wanted, score in ((1.9 * path, [0.0, 0.0]), (2.5 * path, [1 / 2.5 - 1, 3 / 2.5 - 1])):
        held = replace(both, together=lambda figure: figure.mean().expand_as(figure))
        assert CameraMotion(wanted)(held).tolist() == pytest.approx(score, abs=1e-6)
        # Alone, the first one falls short of both and the second of none.
        assert CameraMotion(wanted)(both).tolist() == pytest.approx(
            [path / wanted - 1, min(0.0, 3 * path / wanted - 1)], abs=1e-6
        )


def test_trembling_is_no_motion_and_the_depth_is_no_way_to_seem_to_move() -> None:
    seen_by, depth = plane(count=9)
    trembling = seen_by.centers + 0.04 * torch.tensor([0.0, 1, -1, 1] * 2 + [0.0], dtype=torch.float64)[:, None]
    plain, shaken = (CameraMotion(1.0)(views(cameras(c), depth)) for c in (seen_by.centers, trembling))
    torch.testing.assert_close(plain, shaken)
    centers, unit = seen_by.centers.clone().requires_grad_(), depth.clone().requires_grad_()
    score = CameraMotion(1.0)(views(cameras(centers), unit, unproject_depth(depth, seen_by))).sum()
    by_centers, by_depth = torch.autograd.grad(score, (centers, unit), allow_unused=True)
    assert by_depth is None or not by_depth.any()
    # Moving the last camera further is rewarded, in depths of 2.
    assert float(by_centers[0, -1, 0]) == pytest.approx(1 / 2, rel=1e-6)
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"align\.motion"):
            CameraMotion(wrong)


def test_every_pixel_is_read_at_its_own_place() -> None:
    """Cameras at one place: a point falls on the pixel that it is from, so any depth maps have a closed form."""
    seen_by, _ = plane(5, step=0.0)
    depth = 1 + torch.rand(1, 5, HEIGHT, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    # A clip that is shorter than the gap compares its ends.
    for gap, pairs in ((2, [(0, 2), (1, 3), (2, 4)]), (9, [(0, 4)])):
        errors = [(depth[:, i] - depth[:, j]).abs() / (depth[:, i] + depth[:, j]) for i, j in pairs]
        expected = -sum(float((error / (error + 0.05)).mean()) for error in errors) / len(pairs)
        term = ReprojectionConsistency(gap, tolerance=0.05)
        assert float(term(views(seen_by, depth))) == pytest.approx(expected, rel=1e-9)


def test_a_camera_beside_reads_the_pixels_beside() -> None:
    """A wall 2 away, and a step of 3 pixels' worth: what the second view says of columns 0 to 10 the first has in 3 to 13.

    The second view's depth is wrong by a factor that depends on the pixel. Its points are those of the wall.
    """
    shift = 3
    seen_by, depth = plane(2, step=shift * 2.0 / FOCAL)
    points = unproject_depth(depth, seen_by)
    wrong = depth.clone()
    wrong[:, 1] *= 1 + torch.rand(HEIGHT, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    error = ((wrong - 2) / (wrong + 2))[0, 1, :, : WIDTH - shift]
    # Back from the second view to the first nothing is wrong.
    expected = -float((error / (error + 0.05)).mean()) / 2
    score = ReprojectionConsistency(tolerance=0.05)(views(seen_by, wrong, points))
    assert float(score) == pytest.approx(expected, rel=1e-9)
