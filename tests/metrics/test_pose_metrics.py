"""Pose errors in closed form, and their independence of the world frame and of scale."""

from __future__ import annotations

import math

import pytest
import torch

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.metrics.pose import PairErrors, accuracy_at, pair_errors, pose_auc, trajectory_error
from vist3a.records import Cameras


def rotation(axis: tuple[float, float, float], degrees: float) -> torch.Tensor:
    """Rotation about a unit axis."""
    half = math.radians(degrees) / 2
    q = [math.cos(half), *(math.sin(half) * a for a in axis)]
    return rotation_from_quaternion(torch.tensor(q, dtype=torch.float64))


def cameras(rotations: torch.Tensor, centers: torch.Tensor) -> Cameras:
    """World-to-camera rotations and centres to cameras."""
    pose = torch.eye(4, dtype=torch.float64).repeat(*centers.shape[:-1], 1, 1)
    pose[..., :3, :3] = rotations
    pose[..., :3, 3] = -(rotations @ centers[..., None])[..., 0]
    return Cameras(pose, torch.eye(3, dtype=torch.float64).expand(*centers.shape[:-1], 3, 3))


def random_trajectory(seed: int, batch: int = 2, views: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    quaternions = torch.randn(batch, views, 4, generator=generator, dtype=torch.float64)
    return rotation_from_quaternion(quaternions), torch.randn(batch, views, 3, generator=generator, dtype=torch.float64)


def test_same_motion_in_another_world_and_unit_is_perfect() -> None:
    rotations, centers = random_trajectory(0)
    target = cameras(rotations, centers)
    turn, shift = rotation((0.6, 0.0, 0.8), 77.0), torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    prediction = cameras(rotations @ turn.T, 2.5 * (centers @ turn.T) + shift)
    errors = pair_errors(prediction, target)
    assert errors.rotation.shape == errors.translation.shape == (2, 10)
    assert errors.rotation.max() < 1e-5 and errors.translation.max() < 1e-5
    assert trajectory_error(prediction, target).max() < 1e-10
    assert (pose_auc(errors) == 1).all()


def test_one_turned_camera_errs_by_its_angle_in_its_pairs_only() -> None:
    rotations, centers = random_trajectory(1, batch=1, views=3)
    wrong = rotations.clone()
    wrong[:, 2] = rotation((0.0, 1.0, 0.0), 20.0) @ rotations[:, 2]
    errors = pair_errors(cameras(wrong, centers), cameras(rotations, centers))
    expected = torch.tensor([[0.0, 20.0, 20.0]], dtype=torch.float64)
    torch.testing.assert_close(errors.rotation, expected, atol=1e-5, rtol=0)
    assert accuracy_at(errors.rotation, 5.0).item() == pytest.approx(1 / 3)
    assert accuracy_at(errors.rotation, 21.0).item() == 1


def test_translation_direction_in_closed_form() -> None:
    eye = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    ahead = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    aside = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 2.0]], dtype=torch.float64)
    back, still = -ahead, torch.zeros_like(ahead)
    for prediction, degrees in ((ahead, 0.0), (aside, 45.0), (back, 180.0), (still, 180.0)):
        value = pair_errors(cameras(eye, prediction), cameras(eye, ahead)).translation.item()
        assert value == pytest.approx(degrees, abs=1e-6)
    assert pair_errors(cameras(eye, still), cameras(eye, still)).translation.item() == 0


def test_auc_of_known_errors() -> None:
    """Pairs at 0.5, 10.5 and 90 degrees: right for all, 20 and none of the 30 thresholds."""
    values = torch.tensor([0.5, 10.5, 90.0], dtype=torch.float64)
    errors = PairErrors(values, torch.zeros_like(values))
    assert pose_auc(errors, 30).item() == pytest.approx((30 + 20 + 0) / 90)
    assert pose_auc(PairErrors(torch.zeros_like(values), values), 30).item() == pytest.approx(50 / 90)


def test_published_accuracies_take_directions_without_their_sign() -> None:
    """A translation of 178 degrees errs by 2; one of 90 by 90; RRA and the angle itself keep all."""
    values = torch.tensor([178.0, 90.0, 3.0, 135.0], dtype=torch.float64)
    errors = PairErrors(torch.zeros_like(values), values)
    assert errors.line.tolist() == [2.0, 90.0, 3.0, 45.0]
    # Below 3 .. 30: 28 thresholds; below 4 .. 30: 27.
    assert pose_auc(errors, 30).item() == pytest.approx((28 + 27) / 120)
    assert accuracy_at(errors.line, 5.0).item() == 0.5
    # A camera that goes the opposite way is on the line; one that stands still is not.
    eye = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    ahead = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    for centers, degrees in ((-ahead, 0.0), (torch.zeros_like(ahead), 90.0)):
        assert pair_errors(cameras(eye, centers), cameras(eye, ahead)).line.item() == pytest.approx(degrees, abs=1e-6)


def test_trajectory_error_in_closed_form() -> None:
    eye = torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    true = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]], dtype=torch.float64)
    still = torch.zeros_like(true)
    assert trajectory_error(cameras(eye, still), cameras(eye, true)).item() == pytest.approx(1.0)
    assert trajectory_error(cameras(eye, -true), cameras(eye, true)).item() == pytest.approx(1.0)
    # (0, 1, 2) seen as (0, 1, 1): the best scale is 3/2, the residuals 1/2 and -1/2.
    short = true.clone()
    short[2, 0] = 1.0
    assert trajectory_error(cameras(eye, short), cameras(eye, true)).item() == pytest.approx(math.sqrt(0.5 / 5))


def test_a_single_view_has_no_pairs() -> None:
    rotations, centers = random_trajectory(2, batch=1, views=1)
    with pytest.raises(ValueError, match="two or more views"):
        pair_errors(cameras(rotations, centers), cameras(rotations, centers))


def test_every_pair_of_every_scene_stands_still_for_itself() -> None:
    """The second view of the one stands with the first, of the other scene with the third; the truth moves, or stands as well."""
    still = torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    ours = torch.tensor([[[0.0, 0, 0], [0, 0, 0], [1, 0, 0]], [[0, 0, 0], [1, 0, 0], [1, 0, 0]]], dtype=torch.float64)
    true = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [3, 0, 0]], [[0, 0, 0], [5, 0, 0], [5, 0, 0]]], dtype=torch.float64)
    found = pair_errors(cameras(still, ours), cameras(still, true))
    assert found.one_still is not None
    # Pairs (0, 1), (0, 2), (1, 2).
    assert found.one_still.tolist() == [[True, False, False], [False, False, False]]
    assert found.translation.tolist() == [[180, 0, 0], [0, 0, 0]] and found.line.tolist() == [[90, 0, 0], [0, 0, 0]]
    turned = pair_errors(cameras(still, true), cameras(still, ours))
    assert turned.one_still is not None and torch.equal(turned.one_still, found.one_still)
