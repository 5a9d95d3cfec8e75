"""Shares by kind against counting and Wilson's formula, and which kinds are called the worst."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vist3a.metrics.by_kind import figures_by_kind, share_interval, worst_lines

DECODED, RENDERED = "accuracy/decoded", "accuracy/rendered"
KINDS = [("objects: 1", "color: red"), ("objects: 1", "color: blue"), ("objects: 2", "color: blue", "color: red"), ()]
BEFORE = {DECODED: [1.0, 0.0, 1.0, 1.0], "reward/total": [0.3, 0.2, 0.1, 0.5], RENDERED: [1.0, 1.0, 1.0, 1.0]}
AFTER = {DECODED: [1.0, 1.0, 0.0, 1.0], "reward/total": [0.3, 0.2, 0.1, 0.5], RENDERED: [1.0, 1.0, 1.0, 1.0]}


@pytest.mark.parametrize(("right", "count"), [(0, 5), (5, 5), (3, 7), (90, 96)])
def test_interval_is_the_score_test_turned_around(right: int, count: int) -> None:
    """At its ends the share that was seen is 1.96 standard errors of the true one away (Wilson, 1927)."""
    low, high = share_interval(right, count)
    share = right / count
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) / math.sqrt(end * (1 - end) / count) == pytest.approx(1.959964, rel=1e-5)
    assert 0 <= low <= share <= high <= 1 and high - low > 0.05


def row(found: dict[str, Any], figure: str, kind: str) -> dict[str, Any]:
    (one,) = [row for row in found["rows"] if (row["figure"], row["kind"]) == (figure, kind)]
    return one


def test_every_kind_has_the_shares_of_its_prompts() -> None:
    found = figures_by_kind(KINDS, BEFORE, AFTER)
    assert {(one["figure"], one["kind"]) for one in found["rows"]} == {
        (figure, kind) for figure in (DECODED, RENDERED) for own in KINDS for kind in own
    }
    red = row(found, DECODED, "color: red")
    assert (red["prompts"], red["before"], red["after"]) == (2, 1.0, 0.5)
    assert (red["after_low"], red["after_high"]) == share_interval(1, 2)
    single = row(found, DECODED, "objects: 1")
    assert (single["prompts"], single["before"], single["after"]) == (2, 0.5, 1.0)
    assert (single["before_low"], single["before_high"]) == share_interval(1, 2)


def test_rows_are_by_figure_and_then_by_name() -> None:
    kinds = [[name] for name in "hbfadgce"]
    ones = [1.0] * 8
    found = figures_by_kind(kinds, {RENDERED: ones, DECODED: ones}, {DECODED: ones, RENDERED: ones})
    assert [(row["figure"], row["kind"]) for row in found["rows"]] == [
        (figure, name) for figure in (RENDERED, DECODED) for name in "abcdefgh"
    ]


def test_the_worst_is_below_the_mean_and_surely_so() -> None:
    """One wrong prompt of one says less than ten of twelve; a kind at the mean or above is never named."""
    kinds = [["once"]] + [["often"]] * 12 + [["good"]] * 12
    verdicts = [0.0] + [0.0] * 10 + [1.0] * 2 + [1.0] * 12
    found = figures_by_kind(kinds, {DECODED: verdicts}, {DECODED: verdicts})
    assert found["worst"] == {DECODED: ["often", "once"]}
    assert figures_by_kind(KINDS, BEFORE, AFTER)["worst"][RENDERED] == []
    # More bad kinds than are named.
    many = figures_by_kind([[name] for name in "abcdz"], *[{DECODED: [0.0, 0.0, 0.0, 0.0, 1.0]}] * 2)
    assert len(many["worst"][DECODED]) == 3 and "z" not in many["worst"][DECODED]


def test_the_worst_are_told_with_their_numbers() -> None:
    lines = worst_lines(figures_by_kind(KINDS, BEFORE, AFTER))
    assert lines[0].startswith("- accuracy/decoded: objects: 2 0% (0% to 79%, 1 prompt), color: ")
    assert lines[1] == "- accuracy/rendered: no kind is below the mean of all prompts"


@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, 0.0, 0.5, 1.0], [1.0, 0.0, math.nan, 1.0]])
def test_what_is_no_verdict_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"accuracy/decoded has .* of 4 prompts; allowed: 0 or 1 for each prompt"):
        figures_by_kind(KINDS, BEFORE, {**AFTER, DECODED: values})
