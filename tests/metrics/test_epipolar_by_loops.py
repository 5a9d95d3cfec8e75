"""Shares of matches pair by pair, the fundamental matrix by its definition, and what is known of nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scene_cases import panning_cameras
from scipy.spatial.transform import Rotation
from skimage.feature import match_descriptors
from world_cases import world_scene

from vist3a.metrics.epipolar import EpipolarSift, _features, epipolar_inliers, fundamental, sampson
from vist3a.records import Cameras, Reconstruction


def film(views: int) -> tuple[torch.Tensor, Cameras, Reconstruction]:
    scene, frames, _, _ = world_scene(2, 1, 48, views)
    return frames[0], scene.cameras[0], scene


def errors_of(frames: torch.Tensor, cameras: Cameras, chosen: list[int]) -> list[float]:
    """Of all matches of neighbors among the chosen frames."""
    found = []
    for first, second in itertools.pairwise(chosen):
        here, there = (_features(frames[view].clamp(0, 1).mean(0).numpy()) for view in (first, second))
        if not len(here[0]) or not len(there[0]):
            continue
        matrix = fundamental(cameras, first, second)
        for one, other in match_descriptors(here[1], there[1], max_ratio=0.85, cross_check=True):
            x, y = np.array([*here[0][one], 1]), np.array([*there[0][other], 1])
            line, back = matrix @ x, matrix.T @ y
            found.append(abs(y @ line) / np.sqrt(line[0] ** 2 + line[1] ** 2 + back[0] ** 2 + back[1] ** 2))
    return found


@pytest.mark.parametrize(
    ("views", "chosen"), [(9, [0, 2, 4, 6, 8]), (6, [0, 1, 2, 4, 5]), (4, [0, 1, 2, 3]), (2, [0, 1])]
)
def test_neighbors_of_five_frames_are_matched(views: int, chosen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    frames, cameras, _ = film(views)
    # Brighter than can be shown, in places.
    frames = 1.3 * frames - 0.1
    errors = errors_of(frames, cameras, chosen)
    share = sum(error < 0.2 for error in errors) / len(errors)
    monkeypatch.setattr("vist3a.metrics.epipolar.LEAST_MATCHES", len(errors))
    assert epipolar_inliers(frames.clone().requires_grad_(), cameras) == pytest.approx(share, abs=1e-12)
    assert 0 < share < 1
    # With one match less than it takes nothing agrees.
    monkeypatch.setattr("vist3a.metrics.epipolar.LEAST_MATCHES", len(errors) + 1)
    assert epipolar_inliers(frames, cameras) == 0


@pytest.mark.parametrize("empty", [0, 2, 4])
def test_a_frame_without_features_has_no_matches_and_the_others_count(empty: int) -> None:
    frames, cameras, _ = film(5)
    frames = frames.clone()
    frames[empty] = 0.5
    errors = errors_of(frames, cameras, [0, 1, 2, 3, 4])
    assert len(errors) >= 8
    assert epipolar_inliers(frames, cameras) == pytest.approx(sum(error < 0.2 for error in errors) / len(errors))
    # A faint spot has features, and nothing has none.
    y, x = np.mgrid[:64, :64] + 0.5
    assert len(_features(0.5 + 0.05 * np.exp(-((x - 20.5) ** 2 + (y - 35.5) ** 2) / 18))[0]) > 0
    places, described = _features(np.full((32, 32), 0.5))
    assert places.shape == (0, 2) and described.shape == (0, 128)


def test_the_matrix_is_that_of_its_definition() -> None:
    """K'^-T [t]x R K^-1, of lenses of their own, in double precision."""
    random = np.random.default_rng(1)
    poses, lenses = np.tile(np.eye(4), (3, 1, 1)), []
    for view in range(3):
        poses[view, :3, :3] = Rotation.from_rotvec(random.normal(size=3)).as_matrix()
        poses[view, :3, 3] = random.normal(size=3)
        lenses.append([[50.0 + view, 0, 30], [0, 60 - view, 20 + view], [0, 0, 1]])
    cameras = Cameras(torch.from_numpy(poses).float().requires_grad_(), torch.tensor(lenses).requires_grad_())
    p, k = cameras.world_to_camera.detach().double().numpy(), cameras.intrinsics.detach().double().numpy()
    relative = p[2] @ np.linalg.inv(p[0])
    x, y, z = relative[:3, 3]
    wanted = (
        np.linalg.inv(k[2]).T @ np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ relative[:3, :3] @ np.linalg.inv(k[0])
    )
    found = fundamental(cameras, 0, 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    # The same points from the other side.
    np.testing.assert_allclose(
        fundamental(cameras, 2, 0) / np.linalg.norm(wanted), found.T / np.linalg.norm(wanted), atol=1e-6
    )


def test_what_stands_still_agrees_with_everything() -> None:
    places = np.array([[1.0, 2], [3, 4]])
    assert sampson(np.zeros((3, 3)), places, places[::-1]).tolist() == [0, 0]
    matrix = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    # Moved along x, matches agree in y: a gap of 3 is shared by both ends.
    np.testing.assert_allclose(sampson(matrix, places, places + np.array([7, 3])), 3 / np.sqrt(2))
    standing = panning_cameras()[[2, 2]]
    np.testing.assert_allclose(fundamental(standing, 0, 1), 0, atol=1e-9)


def test_every_sample_has_its_own_share() -> None:
    frames, cameras, scene = film(5)
    other = frames.flip(0)
    both = Reconstruction(*(
        Cameras(part.world_to_camera.repeat(2, 1, 1, 1), part.intrinsics.repeat(2, 1, 1, 1)) if isinstance(part, Cameras)
        else part.repeat(2, *[1] * (part.ndim - 1))
        for part in (scene.cameras, scene.depth, scene.depth_confidence, scene.points, scene.points_confidence)
    ))  # fmt: skip
    both.cameras.world_to_camera[1] = cameras.world_to_camera.roll(1, 0)
    scores = EpipolarSift()(both, torch.stack([frames, other]))
    wanted = [epipolar_inliers(frames, cameras), epipolar_inliers(other, both.cameras[1])]
    assert scores.tolist() == pytest.approx(wanted, abs=1e-6) and wanted[0] != wanted[1]
