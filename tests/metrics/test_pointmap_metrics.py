"""Point map errors in closed form and against brute force."""

from __future__ import annotations

import numpy as np
import torch

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.metrics.pointmap import nearest_distances, pointmap_errors


def moved(points: torch.Tensor) -> torch.Tensor:
    rotation = rotation_from_quaternion(torch.tensor([0.9, 0.1, -0.3, 0.2], dtype=points.dtype))
    return 0.3 * points @ rotation.T + torch.tensor([1.0, 2.0, -3.0], dtype=points.dtype)


def test_a_similar_cloud_is_perfect() -> None:
    target = torch.randn(2, 3, 5, 6, 3, dtype=torch.float64)
    errors = pointmap_errors(moved(target), target)
    for value in (errors.accuracy, errors.completeness, errors.relative, errors.accuracy_median):
        assert value.shape == (2,) and value.max() < 1e-10


def test_invalid_points_do_not_count() -> None:
    target = torch.randn(1, 40, 3, dtype=torch.float64)
    prediction = moved(target)
    valid = torch.ones(1, 40, dtype=torch.bool)
    prediction[0, :5] = 1e6
    valid[0, :5] = False
    prediction[0, 5], target[0, 6] = torch.nan, torch.inf
    assert pointmap_errors(prediction, target, valid).relative.item() < 1e-10


def test_noise_equals_brute_force() -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.randn(1, 60, 3, generator=generator, dtype=torch.float64)
    # Noise without any mean, turn or scale in common with the points, so that the best similarity is the identity.
    noise = 0.05 * torch.randn(1, 60, 3, generator=generator, dtype=torch.float64)
    centered = (target - target.mean(1, keepdim=True))[0]
    generators = [torch.ones(60, 3, dtype=torch.float64) * e for e in torch.eye(3, dtype=torch.float64)]
    generators += [torch.linalg.cross(e.expand(60, 3), centered) for e in torch.eye(3, dtype=torch.float64)]
    basis = torch.linalg.qr(torch.stack([g.flatten() for g in [*generators, centered]], 1)).Q
    flat = noise.flatten()
    noise = (flat - basis @ (basis.T @ flat)).reshape(1, 60, 3)
    # The scale is fitted to the prediction: shrink it so that least squares gives exactly one.
    prediction = target + noise
    factor = (centered.square().sum() / (centered + noise[0]).square().sum()).item()
    errors = pointmap_errors(prediction, target)
    mean = target.mean(1, keepdim=True)
    aligned = (factor * (prediction - mean) + mean)[0].numpy()
    true = target[0].numpy()
    distances = np.linalg.norm(aligned[:, None] - true[None], axis=-1)
    np.testing.assert_allclose(errors.accuracy, distances.min(1).mean(), rtol=1e-9)
    np.testing.assert_allclose(errors.completeness, distances.min(0).mean(), rtol=1e-9)
    spread = np.linalg.norm(true - true.mean(0), axis=1).mean()
    np.testing.assert_allclose(errors.relative, np.linalg.norm(aligned - true, axis=1).mean() / spread, rtol=1e-9)


def test_nearest_distances_do_not_depend_on_the_chunk_or_the_origin() -> None:
    generator = torch.Generator().manual_seed(4)
    a, b = torch.randn(50, 3, generator=generator), torch.randn(70, 3, generator=generator)
    expected = np.linalg.norm(a.numpy()[:, None] - b.numpy()[None], axis=-1).min(1)
    for chunk in (7, 1000):
        np.testing.assert_allclose(nearest_distances(a, b, chunk), expected, rtol=1e-5)
    np.testing.assert_allclose(nearest_distances(a + 100, b + 100), expected, rtol=1e-3)


def test_too_few_points_are_nan() -> None:
    errors = pointmap_errors(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    assert torch.isnan(errors.accuracy).all()
