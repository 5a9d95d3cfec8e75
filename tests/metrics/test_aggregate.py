"""Intervals and correlations against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vist3a.metrics.aggregate import (
    bootstrap_interval,
    paired_difference,
    paired_differences,
    percentile_interval,
    rank_correlation,
    resamples,
)


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values.tolist(), seed=1)
    half = 1.96 * values.std() / 20
    assert (low, high) == (pytest.approx(values.mean() - half, abs=0.03), pytest.approx(values.mean() + half, abs=0.03))
    assert bootstrap_interval([5.0], seed=1) == (5.0, 5.0)


def test_resamples_are_the_same_for_everything_of_one_length() -> None:
    assert (resamples(7, 3) == resamples(7, 3)).all()
    assert (resamples(7, 3) != resamples(7, 4)).any()
    assert set(resamples(3, 0).ravel()) == {0, 1, 2}
    assert percentile_interval(np.arange(101.0), level=0.9) == pytest.approx((5.0, 95.0))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_rank_correlation_is_pearsons_of_the_ranks(pairs: list[tuple[int, int]]) -> None:
    one, other = ([float(pair[i]) for pair in pairs] for i in (0, 1))
    ranks = pd.DataFrame({"a": one, "b": other}).rank()
    expected = 0.0 if ranks.a.std() == 0 or ranks.b.std() == 0 else ranks.a.corr(ranks.b)
    assert rank_correlation(one, other) == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_wants_pairs() -> None:
    assert rank_correlation([1.0, 2.0, 9.0], [0.1, 0.2, 0.3]) == pytest.approx(1)
    assert rank_correlation([1.0, 2.0, 9.0], [3.0, 2.0, 1.0]) == pytest.approx(-1)
    with pytest.raises(ValueError, match="equally long lists of at least two, not 1 and 2"):
        rank_correlation([1.0], [1.0, 2.0])


def test_pairs_that_are_not_finite_are_left_out() -> None:
    nan = float("nan")
    found = paired_differences({"a": [1.0, nan, 3.0], "b": [nan, 1.0]}, {"a": [2.0, 5.0, 3.5], "b": [1.0, nan]}, 0)
    assert found == {"a": paired_difference([1.0, 3.0], [2.0, 3.5], 0)}
