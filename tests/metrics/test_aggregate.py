"""Intervals and correlations against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from vist3a.metrics.aggregate import (
    NESTED_RESAMPLES,
    bootstrap_interval,
    nested_counts,
    paired_difference,
    paired_differences,
    percentile_interval,
    rank_correlation,
    resampled_means,
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


def test_resamples_of_groups_draw_groups_then_their_items() -> None:
    """Against the closed form: the variance of the mean is that of the groups plus that of the items within."""
    counts = nested_counts([3, 5], 0)
    assert counts.shape == (NESTED_RESAMPLES, 8)
    assert set(np.unique(counts[:, :3].sum(1))) == {0, 3, 6}
    assert set(np.unique(counts[:, 3:].sum(1))) == {0, 5, 10}
    random = np.random.default_rng(1)
    groups, items = 40, 25
    values = np.repeat(random.normal(size=groups), items) + 2 * random.normal(size=groups * items)
    means = resampled_means(values[:, None], nested_counts([items] * groups, 2))[:, 0]
    by_group = values.reshape(groups, items)
    expected = by_group.mean(1).var() / groups + by_group.var(1).mean() / (groups * items)
    assert means.var() == pytest.approx(expected, rel=0.1)
    assert means.mean() == pytest.approx(values.mean(), abs=4 * np.sqrt(expected / NESTED_RESAMPLES))


def test_resampled_means_leave_out_what_is_not_finite() -> None:
    counts = nested_counts([2, 2], 3)
    values = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, 3.0], [4.0, np.inf]])
    means = resampled_means(values, counts)
    for row, drawn in zip(means, counts, strict=True):
        listed = np.repeat(values, drawn.astype(int), axis=0)
        assert row[0] == pytest.approx(listed[:, 0].mean())
        finite = listed[np.isfinite(listed[:, 1]), 1]
        assert (np.isnan(row[1]) and not len(finite)) or row[1] == pytest.approx(finite.mean())


def test_groups_without_items_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one group of at least one item"):
        nested_counts([3, 0], 0)


def test_a_paired_difference_in_closed_form() -> None:
    """Two of four items rise, one a little, one falls, and one that stays is not risen."""
    found = paired_difference([1.0, 2.0, 4.0, 0.0], [1.5, 2.0, 3.0, 5.0], seed=0)
    assert found["before"] == pytest.approx(7 / 4) and found["after"] == pytest.approx(11.5 / 4)
    assert found["difference"] == pytest.approx(4.5 / 4)
    assert found["share_risen"] == 0.5
    with pytest.raises(ValueError, match="equally many values, not 1 and 2"):
        paired_difference([1.0], [1.0, 2.0], seed=0)


def test_the_interval_of_a_paired_difference_is_scipys() -> None:
    """Both are Monte Carlo: ends agree to a tenth of the interval, which lies around the difference."""
    random = np.random.default_rng(5)
    before = random.normal(0, 10, 60)
    after = before + random.normal(1, 2, 60)
    found = paired_difference(before.tolist(), after.tolist(), seed=0)
    drawn = scipy.stats.bootstrap(
        (after - before,), np.mean, n_resamples=5000, method="percentile", random_state=np.random.default_rng(1)
    )
    low, high = drawn.confidence_interval
    assert low < found["difference"] < high
    assert found["difference_low"] == pytest.approx(low, abs=0.1 * (high - low))
    assert found["difference_high"] == pytest.approx(high, abs=0.1 * (high - low))
