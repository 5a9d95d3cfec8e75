"""Whose scale a depth error is after: that of the item itself, over all of its pixels that count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vist3a.metrics.depth import _median, depth_errors


def maps(*batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    target = 0.5 + torch.rand(*batch, 4, 5, generator=random, dtype=torch.float64)
    return target * torch.exp(torch.randn(*batch, 4, 5, generator=random, dtype=torch.float64) / 4), target


def test_every_item_has_the_scale_of_its_own_pixels() -> None:
    prediction, target = maps(2, 3)
    prediction = prediction * torch.tensor([[1.0, 2, 4], [8, 0.5, 0.1]], dtype=torch.float64)[..., None, None]
    found = depth_errors(prediction, target)
    for i in range(2):
        for j in range(3):
            p, t = prediction[i, j].numpy(), target[i, j].numpy()
            scale = np.median(t) / np.median(p)
            assert float(found.scale[i, j]) == pytest.approx(scale)
            assert float(found.abs_rel[i, j]) == pytest.approx(np.mean(np.abs(scale * p - t) / t))
            assert float(found.delta_125[i, j]) == pytest.approx(
                np.mean(np.maximum(scale * p / t, t / (scale * p)) < 1.25)
            )


def test_the_median_of_an_even_number_lies_between_and_masked_pixels_have_no_say() -> None:
    prediction, target = torch.tensor([[1.0, 2, 4, 9]]).double(), torch.tensor([[10.0, 20, 40, 70]]).double()
    assert float(depth_errors(prediction, target).scale) == pytest.approx(30 / 3)
    valid = torch.tensor([[True, True, True, False]])
    found = depth_errors(prediction, target, valid)
    assert float(found.scale) == pytest.approx(10) and float(found.abs_rel) == pytest.approx(0)
    assert float(depth_errors(prediction, target).abs_rel) > 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 0.0, -1.0])
@pytest.mark.parametrize("where", [0, 1])
def test_pixels_without_a_depth_on_either_side_never_count(bad: float, where: int) -> None:
    pair = list(maps(2))
    clean = depth_errors(*pair, (torch.arange(20) > 0).view(4, 5).expand(2, 4, 5))
    pair[where] = pair[where].clone()
    pair[where][:, 0, 0] = bad
    found = depth_errors(*pair)
    for name in ("scale", "abs_rel", "delta_125"):
        torch.testing.assert_close(getattr(found, name), getattr(clean, name))


def test_a_ratio_of_exactly_five_quarters_is_too_much() -> None:
    target = torch.ones(1, 4).double()
    found = depth_errors(torch.tensor([[1.25, 1.2, 0.81, 0.79]]).double(), target, align=False)
    assert float(found.delta_125) == pytest.approx(1 / 2)


def test_more_pixels_than_a_quantile_takes_have_the_lower_middle_one() -> None:
    """2^24 of them and more: an even number of two values, half and half."""
    half = 2**23
    values = torch.cat([torch.full((half,), 1.0), torch.full((half,), 3.0)]).view(1, 1, -1)
    assert float(depth_errors(values, 2 * values).scale) == 2
    assert float(depth_errors(values[..., 1:], 4 * values[..., 1:]).scale) == 4
    assert _median(values.flatten(-2)).tolist() == [1.0]
    assert _median(values[..., : half + 8].flatten(-2)[..., -16:]).tolist() == [2.0]
