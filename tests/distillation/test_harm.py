"""The verdict on a training by held-out errors."""

from __future__ import annotations

import pytest

from vist3a.distillation.harm import judge


@pytest.mark.parametrize(
    ("after", "better", "worse"),
    [
        ({"depth": 0.05, "rotation": 1.0}, True, ()),
        ({"depth": 0.133, "rotation": 2.0}, False, ("depth",)),
        ({"depth": 0.12, "rotation": 1.0}, True, ("depth",)),
        ({"depth": 0.1, "rotation": 2.0}, False, ()),
        ({"depth": float("nan"), "rotation": 0.1}, False, ("depth",)),
        ({"depth": 0.0, "rotation": 2.0}, True, ()),
    ],
)
def test_errors_decide_on_their_geometric_mean(after: dict[str, float], better: bool, worse: tuple[str, ...]) -> None:
    verdict = judge({"depth": 0.1, "rotation": 2.0}, after)
    assert (verdict.better, verdict.worse) == (better, worse)
    assert verdict.kept == ("distilled" if better else "closed form")


@pytest.mark.parametrize(("after", "better", "worse"), [(0.0, False, ()), (1e-15, False, ()), (0.1, False, ("depth",))])
def test_nothing_is_better_than_no_error(after: float, better: bool, worse: tuple[str, ...]) -> None:
    """An error of 0 has no logarithm; what lies below the smallest counts as the smallest."""
    verdict = judge({"depth": 0.0}, {"depth": after})
    assert (verdict.better, verdict.worse) == (better, worse)
