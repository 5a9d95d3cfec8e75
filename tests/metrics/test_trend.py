"""The rank test against all orders counted one by one."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
import torch

from vist3a.metrics.trend import rising


def by_counting(values: tuple[float, ...]) -> float:
    def pairs(order: tuple[float, ...]) -> int:
        return sum(later > earlier for earlier, later in combinations(order, 2))

    orders = list(permutations(sorted(values)))
    return sum(pairs(order) >= pairs(values) for order in orders) / len(orders)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_equals_counting_all_orders(count: int) -> None:
    for values in permutations([float(i) for i in range(count)]):
        assert rising(values) == pytest.approx(by_counting(values), abs=1e-12)


def test_a_rise_is_unlikely_and_a_fall_is_certain() -> None:
    assert rising([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(1 / 120)
    assert rising([5.0, 4.0, 3.0, 2.0, 1.0]) == 1
    assert rising([0.0] * 6) > 0.4


def test_chance_is_called_a_rise_as_often_as_promised() -> None:
    series = torch.rand(4000, 8, generator=torch.Generator().manual_seed(0)).tolist()
    share = sum(rising(values) <= 0.05 for values in series) / len(series)
    assert 0.02 < share <= 0.06
