"""The exact permutation test against all orders counted by hand and against SciPy."""

from __future__ import annotations

from itertools import permutations, product

import pytest
from scipy import stats

from vist3a.metrics.aggregate import rank_correlation
from vist3a.metrics.permutation import chance_of_correlation


def test_one_group_against_scipy() -> None:
    one, other = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]
    expected = stats.permutation_test(
        (one,), lambda x: stats.spearmanr(x, other).statistic, permutation_type="pairings", alternative="greater",
        n_resamples=10**6,
    ).pvalue  # fmt: skip
    assert chance_of_correlation([(one, other)]) == pytest.approx(expected)


def test_several_groups_against_every_pair_of_orders() -> None:
    groups = [([1.0, 2.0, 3.0, 4.0], [0.1, 0.3, 0.2, 0.4]), ([4.0, 1.0, 2.0], [9.0, 3.0, 3.0])]
    seen = sum(rank_correlation(*group) for group in groups)
    sums = [
        rank_correlation(groups[0][0], first) + rank_correlation(groups[1][0], second)
        for first, second in product(permutations(groups[0][1]), permutations(groups[1][1]))
    ]
    assert chance_of_correlation(groups) == pytest.approx(sum(s >= seen - 1e-9 for s in sums) / len(sums))


def test_ends() -> None:
    rising = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    falling = (rising[0], rising[1][::-1])
    assert chance_of_correlation([rising] * 2) == pytest.approx(1 / 24**2)
    assert chance_of_correlation([falling]) == 1.0
    assert chance_of_correlation([(rising[0], [5.0] * 4)]) == 1.0
    with pytest.raises(ValueError, match="2 to 8 values"):
        chance_of_correlation([([1.0], [1.0])])
