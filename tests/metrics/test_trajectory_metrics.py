"""ATE and RPE in closed form and against a plain numpy computation; pose transfer of exact and of wrong estimates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.metrics.pose_transfer import pose_transfer
from vist3a.metrics.trajectory import trajectory_errors
from vist3a.records import Cameras


def posed(rotations: torch.Tensor, centers: torch.Tensor) -> Cameras:
    pose = torch.eye(4, dtype=torch.float64).repeat(*centers.shape[:-1], 1, 1)
    pose[..., :3, :3] = rotations
    pose[..., :3, 3] = -(rotations @ centers[..., None])[..., 0]
    return Cameras(pose, torch.eye(3, dtype=torch.float64).expand(*centers.shape[:-1], 3, 3))


def random_cameras(seed: int, views: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    quaternions = torch.randn(views, 4, generator=generator, dtype=torch.float64)
    return rotation_from_quaternion(quaternions), torch.randn(views, 3, generator=generator, dtype=torch.float64)


def moved(rotations: torch.Tensor, centers: torch.Tensor, seed: int, scale: float) -> Cameras:
    """The same cameras in another world and unit."""
    turn, shift = random_cameras(seed, 1)
    return posed(rotations @ turn[0].T, scale * centers @ turn[0].T + shift[0])


@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_world_and_unit_of_the_prediction_do_not_count(seed, scale):
    rotations, centers = random_cameras(seed)
    _, noise_c = random_cameras(seed + 1)
    prediction = rotations, centers + 0.1 * noise_c
    plain = trajectory_errors(posed(*prediction), posed(rotations, centers))
    other = trajectory_errors(moved(*prediction, seed + 2, scale), posed(rotations, centers))
    assert (other.ate, other.rpe_translation) == pytest.approx((plain.ate, plain.rpe_translation), rel=1e-6)
    assert other.rpe_rotation == pytest.approx(plain.rpe_rotation, abs=1e-5)
    perfect = trajectory_errors(moved(rotations, centers, seed, scale), posed(rotations, centers))
    assert max(perfect.ate, perfect.rpe_translation) < 1e-9 and perfect.rpe_rotation < 1e-5


@pytest.mark.parametrize("step", [1, 2])
def test_equals_a_plain_computation(step):
    rotations, centers = random_cameras(3)
    other_r, other_c = random_cameras(4)
    ours, true = posed(other_r, centers + 0.3 * other_c), posed(rotations, centers)
    errors = trajectory_errors(ours, true, step)
    # Umeyama again, in numpy.
    a, b = ours.centers.numpy(), true.centers.numpy()
    da, db = a - a.mean(0), b - b.mean(0)
    u, d, vt = np.linalg.svd(db.T @ da)
    sign = np.diag([1, 1, np.linalg.det(u) * np.linalg.det(vt)])
    r = u @ sign @ vt
    s = np.trace(np.diag(d) @ sign) / (da**2).sum()
    poses = np.stack([np.eye(4)] * 7)
    poses[:, :3, :3] = r @ ours.camera_to_world.numpy()[:, :3, :3]
    poses[:, :3, 3] = s * da @ r.T + b.mean(0)
    wanted = true.camera_to_world.numpy()
    assert errors.ate == pytest.approx(np.sqrt(((poses[:, :3, 3] - b) ** 2).sum(1).mean()))
    slips, turns = [], []
    for i in range(7 - step):
        moves = [np.linalg.inv(p[i]) @ p[i + step] for p in (wanted, poses)]
        error = np.linalg.inv(moves[0]) @ moves[1]
        slips.append(np.linalg.norm(error[:3, 3]))
        turns.append(np.degrees(np.arccos(np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1))))
    assert errors.rpe_translation == pytest.approx(np.sqrt(np.mean(np.square(slips))))
    assert errors.rpe_rotation == pytest.approx(np.sqrt(np.mean(np.square(turns))), abs=1e-5)


def test_a_zigzag_about_a_line_in_closed_form():
    """Centres (0, 1, 2, 3) on a line, predicted beside it by +e, -e, -e, +e: no similarity helps (to first order in e^2)."""
    e = 1e-4
    centers = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]], dtype=torch.float64)
    beside = centers + e * torch.tensor([[0.0, 1, 0], [0.0, -1, 0], [0.0, -1, 0], [0.0, 1, 0]], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    errors = trajectory_errors(posed(eye, beside), posed(eye, centers))
    assert errors.ate == pytest.approx(e, rel=1e-3)
    assert errors.rpe_translation == pytest.approx(e * np.sqrt((4 + 0 + 4) / 3), rel=1e-3)


def test_too_few_views_are_refused():
    rotations, centers = random_cameras(0, 2)
    with pytest.raises(ValueError, match="at least 3"):
        trajectory_errors(posed(rotations, centers), posed(rotations, centers))


def test_pose_transfer_on_exact_trajectories_of_the_procedural_world():
    from vist3a_lab.procedural import WorldConfig, make_world

    world = make_world(WorldConfig(seed=2, frames=5, height=16, width=16, supersample=1), [0, 1], dtype=torch.float64)
    turn, _ = random_cameras(1, 1)
    elsewhere = world.cameras.world_to_camera.clone()
    elsewhere[..., :3, :3] = elsewhere[..., :3, :3] @ turn[0].T
    elsewhere[..., :3, 3] *= 2.5
    exact = pose_transfer(world.rgb, world.cameras, lambda _: Cameras(elsewhere, world.cameras.intrinsics))
    assert (exact.similarity == 1).all() and exact.trajectory.max() < 1e-9
    still = world.cameras[:, :1].world_to_camera.expand_as(elsewhere)
    frozen = pose_transfer(world.rgb, world.cameras, lambda _: Cameras(still, world.cameras.intrinsics))
    assert (frozen.similarity == 0).all() and (frozen.translation == 180).all()
