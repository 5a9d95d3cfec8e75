"""SIFT matches on epipolar lines: the lines by points that are known, the judge by films that are known to be better or worse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scene_cases import panning_cameras
from world_cases import world_scene

from vist3a.geometry.projection import project
from vist3a.metrics.direction import load_metrics, more_is_better
from vist3a.metrics.epipolar import _features, epipolar_inliers, fundamental, sampson


def test_images_of_one_point_lie_on_each_others_lines() -> None:
    cameras = panning_cameras()
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)).double() * 2 - 1 + torch.tensor([0, 0, 4.0])
    here, there = (project(points, cameras.to(dtype=torch.float64)[view])[0].numpy() for view in (0, 3))
    matrix = fundamental(cameras, 0, 3)
    assert sampson(matrix, here, there).max() < 1e-4
    # Moved across its line by d, a match is d / sqrt(2) from agreeing, as both ends share the error; along it, nothing.
    line = np.concatenate([here, np.ones((50, 1))], 1) @ matrix.T
    across = line[:, :2] / np.linalg.norm(line[:, :2], axis=1, keepdims=True)
    found = sampson(matrix, here, there + 0.5 * across)
    np.testing.assert_allclose(found, 0.5 / np.sqrt(2), rtol=0.06)
    along = across[:, ::-1] * [1, -1]
    assert sampson(matrix, here, there + 3 * along).max() < 1e-4


def test_films_of_one_place_win_over_spoiled_ones() -> None:
    scene, frames, _, _ = world_scene(2, 1, 64, 9)
    cameras = scene.cameras[0]
    true = epipolar_inliers(frames[0], cameras)
    noisy = (frames[0] + 0.04 * torch.randn(frames[0].shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    # Pairs of frames moved up or down in turn by three pixels: the pictures are as sharp as before.
    shaken = torch.stack([frame.roll(3 * (-1) ** (view // 2), 1) for view, frame in enumerate(frames[0])])
    assert 0.4 < true <= 1
    assert true > epipolar_inliers(noisy, cameras)
    assert epipolar_inliers(shaken, cameras) < 0.4 * true
    # Without features, and without a pair, there is nothing that agrees.
    assert epipolar_inliers(torch.full_like(frames[0], 0.5), cameras) == 0
    assert epipolar_inliers(frames[0, :1], cameras[:1]) == 0


def test_it_is_a_metric_of_the_registry() -> None:
    scene, frames, _, _ = world_scene(2, 1, 64, 9)
    metric = load_metrics(["sift"], "evaluate.metrics")["metric/sift"]
    assert float(metric(scene, frames)[0]) == pytest.approx(epipolar_inliers(frames[0], scene.cameras[0]))
    assert more_is_better("metric/sift")


def test_features_stand_where_things_are() -> None:
    """A round spot around the center of a pixel, in pixels that span [0, width] x [0, height]."""
    y, x = np.mgrid[:64, :64] + 0.5
    places, _ = _features(np.exp(-((x - 20.5) ** 2 + (y - 35.5) ** 2) / 18))
    assert len(places) and np.abs(places - [20.5, 35.5]).max(1).min() < 0.05
