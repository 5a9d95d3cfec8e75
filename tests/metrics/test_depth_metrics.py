"""Depth errors in closed form and against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vist3a.metrics.depth import depth_errors


def test_a_scaled_depth_is_perfect_after_alignment() -> None:
    target = 1 + torch.rand(2, 3, 8, 9, dtype=torch.float64)
    errors = depth_errors(0.25 * target, target)
    torch.testing.assert_close(errors.scale, torch.full((2, 3), 4.0, dtype=torch.float64))
    torch.testing.assert_close(errors.abs_rel, torch.zeros(2, 3, dtype=torch.float64))
    assert (errors.delta_125 == 1).all()


def test_without_alignment_the_scale_counts() -> None:
    target = 1 + torch.rand(8, 9, dtype=torch.float64)
    errors = depth_errors(1.3 * target, target, align=False)
    torch.testing.assert_close(errors.abs_rel.item(), 0.3)
    assert errors.delta_125 == 0 and errors.scale == 1


def test_equals_numpy_with_a_mask_and_invalid_pixels() -> None:
    generator = torch.Generator().manual_seed(1)
    target = 0.5 + torch.rand(12, 11, generator=generator, dtype=torch.float64)
    prediction = target * torch.exp(0.3 * torch.randn(12, 11, generator=generator, dtype=torch.float64))
    valid = torch.rand(12, 11, generator=generator) > 0.3
    prediction[0, 0], prediction[0, 1], target[1, 0], target[1, 1] = torch.nan, -1.0, 0.0, torch.inf
    errors = depth_errors(prediction, target, valid)
    mask = valid.numpy().copy()
    mask[0, :2] = mask[1, :2] = False
    p, t = prediction.numpy()[mask], target.numpy()[mask]
    scale = np.median(t) / np.median(p)
    np.testing.assert_allclose(errors.scale, scale)
    np.testing.assert_allclose(errors.abs_rel, np.mean(np.abs(scale * p - t) / t))
    np.testing.assert_allclose(errors.delta_125, np.mean(np.maximum(scale * p / t, t / (scale * p)) < 1.25))


def test_an_item_without_valid_pixels_is_nan_and_leaves_others_alone() -> None:
    target = torch.ones(2, 4, 4)
    target[0] = 0
    errors = depth_errors(torch.ones(2, 4, 4), target)
    assert torch.isnan(errors.abs_rel[0]) and torch.isnan(errors.delta_125[0])
    assert errors.abs_rel[1] == 0 and errors.delta_125[1] == 1


def test_a_ratio_of_exactly_125_percent_is_not_below_it() -> None:
    """Of six pixels one is too far, one too near, one at 5 : 4 and one at 4 : 5; two are good."""
    target = torch.tensor([[4.0, 4.0, 4.0, 5.0, 4.0, 4.0]], dtype=torch.float64)
    prediction = torch.tensor([[8.0, 2.0, 5.0, 4.0, 4.5, 4.0]], dtype=torch.float64)
    assert depth_errors(prediction, target, align=False).delta_125.item() == pytest.approx(2 / 6)
