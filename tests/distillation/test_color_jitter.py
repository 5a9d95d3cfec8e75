"""Color jitter against HSV of the standard library and the definitions of its parts; one draw for all views of a clip."""

from __future__ import annotations

import colorsys

import pytest
import torch

from vist3a.distillation.color_jitter import brightness, color_jitter, contrast, hue, saturation


def pictures() -> torch.Tensor:
    frames = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frames[0, :, 0, 0] = 0.3  # gray has no hue
    frames[0, :, 0, 1] = torch.tensor([1.0, 1.0, 0.0])
    return frames


@pytest.mark.parametrize("shift", [-0.5, -0.13, 0.0, 0.1, 0.5])
def test_hue_turns_as_hsv_does(shift: float) -> None:
    frames = pictures()
    turned = hue(frames, shift)
    for before, after in zip(
        frames.movedim(1, -1).reshape(-1, 3).tolist(), turned.movedim(1, -1).reshape(-1, 3).tolist(), strict=True
    ):
        h, s, v = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb((h + shift) % 1, s, v), abs=1e-12)


def test_the_other_parts_by_their_definitions() -> None:
    frames = pictures()
    gray = 0.299 * frames[:, 0] + 0.587 * frames[:, 1] + 0.114 * frames[:, 2]
    torch.testing.assert_close(brightness(frames, 1.4), (1.4 * frames).clamp(max=1))
    torch.testing.assert_close(saturation(frames, 0.0), gray[:, None].expand_as(frames))
    # Every view has a mean of its own.
    expected = 0.6 * frames + 0.4 * gray.mean((1, 2))[:, None, None, None]
    torch.testing.assert_close(contrast(frames, 0.6), expected)


def test_all_views_of_a_clip_change_alike_and_draws_differ() -> None:
    one = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)).expand(5, 3, 4, 4)
    ranges = (0.5, 0.5, 0.5, 0.1)
    made = [color_jitter(one, ranges, torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert all(torch.equal(clip, clip[:1].expand_as(clip)) for clip in made)
    assert all(float(clip.min()) >= 0 and float(clip.max()) <= 1 for clip in made)
    assert len({float(clip.sum()) for clip in made}) == 8
    assert torch.equal(made[3], color_jitter(one, ranges, torch.Generator().manual_seed(3)))
    torch.testing.assert_close(color_jitter(one, (0.0, 0.0, 0.0, 0.0), torch.Generator()), one, atol=1e-6, rtol=0)
