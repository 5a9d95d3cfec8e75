"""What is said of films before and after an alignment, on figures whose answers are known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vist3a.metrics.aggregate import paired_difference, ratio_of_means
from vist3a.metrics.film_comparison import compare_films

CLIPS = {"rerender": [24.0, 26.0], "motion": [0.3, 0.3, 0.3], "flicker": [0.001, 0.003]}
BEFORE = {"rerender": [20.0, 22.0], "motion": [0.4, 0.4], "flicker": [0.004, 0.004]}


def after(motion: list[float]) -> dict[str, list[float]]:
    return {"rerender": [23.0, 26.0], "motion": motion, "flicker": [0.001, 0.003]}


def test_figures_are_paired_and_held_against_true_clips() -> None:
    found = compare_films(BEFORE, after([0.24, 0.24]), CLIPS, 0.85, 0, ([0.2, 0.4], [0.1, 0.3]))
    assert found["rerender"] == paired_difference(BEFORE["rerender"], [23.0, 26.0], 0)
    assert found["rerender"]["difference"] == pytest.approx(3.5)
    assert found["clips"]["rerender"]["mean"] == 25
    same = {"ratio": 0.8, "ratio_low": 0.8, "ratio_high": 0.8}
    assert found["share_of_clips"]["motion"]["after"] == pytest.approx(same)
    assert found["share_of_clips"]["motion"]["before"]["ratio"] == pytest.approx(4 / 3)
    assert found["diversity"]["ratio"] == pytest.approx(2 / 3) and found["diversity"]["difference"] == pytest.approx(
        -0.1
    )
    said = found["statements"]
    assert said["rerender"] == "films re-render at 24.50 dB, unaligned at 21.00 dB: +3.50 (+3.00 to +4.00)"
    assert said["motion"] == (
        "the aligned generator does not keep the motion: 0.24, which is 0.80 (0.80 to 0.80) of true clips', under the bar of 0.85"
    )
    assert said["motion_before"] == "the unaligned generator has 1.33 (1.33 to 1.33) of the motion of true clips"
    assert said["flicker"].startswith("the light flickers 1.00 (")
    assert said["diversity"].startswith("films of one prompt differ 0.67 (0.50 to 0.75) times")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(("motion", "keeps"), [(0.2549, False), (0.2551, True), (0.6, True)])
def test_the_bar_is_a_share_of_the_motion_of_true_clips(motion: float, keeps: bool) -> None:
    found = compare_films(BEFORE, after([motion] * 2), CLIPS, 0.85, 0)
    assert ("does not keep" not in found["statements"]["motion"]) == keeps
    assert "diversity" not in found and "diversity" not in found["statements"]


def test_a_share_that_is_the_bar_is_kept() -> None:
    found = compare_films({"motion": [0.5]}, {"motion": [0.25]}, {"motion": [0.5]}, 0.5, 0)
    assert found["statements"]["motion"].endswith("of true clips', at least the bar of 0.5")


def test_films_are_paired_where_both_have_a_figure() -> None:
    nan = float("nan")
    before = {"rerender": [20.0, nan, 21.0], "flicker": [nan, 0.5, nan]}
    later = {"rerender": [23.0, 24.0, nan], "flicker": [0.5, nan, 0.5]}
    found = compare_films(before, later, {"rerender": [nan, 26.0, 24.0]}, 0.85, 0)
    assert found["rerender"]["difference"] == 3 and "flicker" not in found
    assert found["clips"]["rerender"]["mean"] == 25


@pytest.mark.parametrize("diversity", [((), (0.1, 0.2)), ((0.1, 0.2), ())])
def test_diversity_needs_films_before_and_after(diversity: Any) -> None:
    assert "diversity" not in compare_films(BEFORE, after([0.3, 0.3]), CLIPS, 0.85, 0, diversity)


@pytest.mark.parametrize(
    ("before", "later", "clips", "said"),
    [
        # No Gaussians: nothing is re-rendered. No clip of the length: nothing to hold motion against.
        ({"motion": [0.4]}, {"motion": [0.3]}, {"motion": [0.3]}, {"motion", "motion_before"}),
        (BEFORE, after([0.3, 0.3]), {}, {"rerender"}),
        ({"motion": [float("nan")]}, {"motion": [0.3]}, {"motion": [0.3]}, {"motion"}),
        ({"motion": [0.1]}, {"motion": [0.3]}, {"motion": [0.0]}, set()),
    ],
)
def test_what_cannot_be_said_is_left_out(before: Any, later: Any, clips: Any, said: set[str]) -> None:
    found = compare_films(before, later, clips, 0.85, 0)
    assert found["statements"].keys() == said
    json.dumps(found, allow_nan=False)


def test_the_interval_of_a_ratio_is_that_of_the_delta_method() -> None:
    random = np.random.default_rng(0)
    below = random.normal(5.0, 0.5, 400)
    # Twice as much, and noise of its own.
    above = 2 * below + random.normal(0.0, 0.3, 400)
    for paired in (True, False):
        found = ratio_of_means(above.tolist(), below.tolist(), 1, paired)
        assert found is not None
        ratio = above.mean() / below.mean()
        covariance = np.cov(above, below)[0, 1] if paired else 0.0
        variance = (above.var() - 2 * ratio * covariance + ratio**2 * below.var()) / below.mean() ** 2 / 400
        assert found["ratio"] == pytest.approx(ratio)
        assert found["ratio_high"] - found["ratio_low"] == pytest.approx(2 * 1.96 * variance**0.5, rel=0.1)
    assert ratio_of_means([1.0, float("nan")], [2.0, 9.0], 0, True) == {
        "ratio": 0.5,
        "ratio_low": 0.5,
        "ratio_high": 0.5,
    }
    assert ratio_of_means([], [1.0], 0, False) is ratio_of_means([1.0], [0.0], 0, False) is None
    with pytest.raises(ValueError, match="equally many values, not 1 and 2"):
        ratio_of_means([1.0], [1.0, 2.0], 0, True)
