"""Does a short series rise or fall? The exact rank test of Mann (1945), which assumes no distribution."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from math import factorial


def rising(values: Sequence[float]) -> float:
    """Probability that as many pairs in rising order, or more, come about when all orders are equally likely.

    Small: the series rises. Ties count one half, which makes the test cautious. For falling, negate the values.
    """
    pairs = list(combinations(values, 2))
    ordered = sum(later > earlier for earlier, later in pairs) + sum(later == earlier for earlier, later in pairs) // 2
    return sum(_orders(len(values))[ordered:]) / factorial(len(values))


@cache
def _orders(count: int) -> tuple[int, ...]:
    """Number of orders of ``count`` different values, by the number of pairs in rising order."""
    if count < 2:
        return (1,)
    smaller = _orders(count - 1)
    # The last value may stand above 0 ... count-1 of the others.
    return tuple(sum(smaller[max(0, k - count + 1) : k + 1]) for k in range(len(smaller) + count - 1))
