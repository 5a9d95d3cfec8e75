"""How often chance alone orders points as well: the exact permutation test of rank correlations (Pitman, 1937)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import permutations

from vist3a.metrics.aggregate import ranks

MOST = 8
"""Points of a group at most: all their orders are looked at."""


def chance_of_correlation(groups: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """Probability that the mean rank correlation of the groups is as high, when all orders of each are equally likely.

    A group is two lists of equally many values, at most 8. For as low a correlation, negate one of the lists.

    Example:
        >>> chance_of_correlation([([1, 2, 3], [1, 2, 3])] * 2)  # one order of six in both
        0.027777777777777776
    """
    total, seen = Counter({0.0: 1}), 0.0
    for one, other in groups:
        if len(one) != len(other) or not 2 <= len(one) <= MOST:
            raise ValueError(
                f"groups of two equally long lists of 2 to {MOST} values are needed, not {len(one)}, {len(other)}"
            )
        a, b = ranks(one), ranks(other)
        scale = float(((a @ a) * (b @ b)) ** 0.5)
        if scale == 0:
            continue  # a constant list has no order to compare
        # Rounded, so that equal sums become one entry whatever the order of their additions.
        own = Counter(
            round(float(sum(x * y for x, y in zip(a, order, strict=True))) / scale, 9) for order in permutations(b)
        )
        seen += round(float(a @ b) / scale, 9)
        # Groups are independent: the distribution of the sum is a convolution.
        added: Counter[float] = Counter()
        for before, count in total.items():
            for value, times in own.items():
                added[round(before + value, 9)] += count * times
        total = added
    # The slack is for the rounding above.
    return sum(count for value, count in total.items() if value >= seen - 1e-7) / sum(total.values())
