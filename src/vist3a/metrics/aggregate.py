"""Means with their uncertainty, and paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
NESTED_RESAMPLES = 10_000
"""Of groups: intervals that hold together with others (Bonferroni) look at one resample in a thousand and fewer."""


def bootstrap_interval(values: Sequence[float], seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron, 1979); both ends equal the value when there is only one."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("an interval needs at least one value")
    return percentile_interval(data[resamples(data.size, seed)].mean(axis=1), level)


def resamples(count: int, seed: int) -> NDArray[np.int64]:
    """Positions [resamples, count] of items drawn with replacement; the same for everything with that many items."""
    return np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))


def percentile_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Ends of the central ``level`` of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def nested_counts(sizes: Sequence[int], seed: int) -> NDArray[np.float64]:
    """How often each item occurs in resamples [resamples, items] of groups of the given sizes, laid end to end.

    The two-stage bootstrap (Davison and Hinkley, 1997, section 3.8): as many groups as there are are drawn with replacement, then
    as many items of each drawn group as it has. Items may be scenes and groups the seeds of what was trained.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"groups of {list(sizes)} items; at least one group of at least one item is needed")
    random = np.random.default_rng(seed)
    counts = np.zeros((NESTED_RESAMPLES, sum(sizes)))
    starts = np.cumsum([0, *sizes])
    for row, drawn in zip(counts, random.integers(0, len(sizes), (NESTED_RESAMPLES, len(sizes))), strict=True):
        for group in drawn:
            # Items that are drawn twice count twice, as they would not with +=.
            np.add.at(row, starts[group] + random.integers(0, sizes[group], sizes[group]), 1)
    return counts


def stratified_counts(sizes: Sequence[int], seed: int) -> NDArray[np.float64]:
    """As :func:`nested_counts` with every group drawn once: what the items vary alone."""
    random = np.random.default_rng(seed)
    parts = [random.multinomial(size, np.full(size, 1 / size), NESTED_RESAMPLES) for size in sizes]
    return np.concatenate(parts, axis=1).astype(np.float64)


def few_groups_factor(groups: int, level: float) -> float:
    """How much wider the share of the groups in a bootstrap interval must be for so few of them.

    Of G groups a bootstrap sees a variance of (G - 1) / G of the true one, and takes its quantiles for those of a normal
    distribution; Student's t of G - 1 degrees of freedom says what they are. ValueError for one group, which has no variance.
    """
    from scipy.stats import norm, t

    if groups < 2:
        raise ValueError(f"{groups} group; the spread of groups needs two")
    tail = (1 + level) / 2
    return float(t.ppf(tail, groups - 1) / norm.ppf(tail) * (groups / (groups - 1)) ** 0.5)


def resampled_means(values: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means [resamples, columns] of ``values`` [items, columns] in the given resamples, without values that are not finite."""
    there = np.isfinite(values)
    # A missing value counts in neither sum; a resample of nothing but these is NaN.
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = (counts @ np.where(there, values, 0)) / (counts @ there.astype(np.float64))
    return means


def paired_difference(before: Sequence[float], after: Sequence[float], seed: int) -> dict[str, float]:
    """Mean of after - before over the same items, with its bootstrap interval and the share of items that rose.

    Items without a finite value on both sides are left out of all figures. ValueError when none is left.
    """
    if len(before) != len(after):
        raise ValueError(f"a paired comparison needs equally many values, not {len(before)} and {len(after)}")
    pairs = np.stack([np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)])
    first, second = pairs[:, np.isfinite(pairs).all(0)]
    difference = second - first
    low, high = bootstrap_interval(difference.tolist(), seed)
    return {
        "before": float(first.mean()),
        "after": float(second.mean()),
        "difference": float(difference.mean()),
        "difference_low": low,
        "difference_high": high,
        "share_risen": float((difference > 0).mean()),
    }


def ratio_of_means(
    numerator: Sequence[float], denominator: Sequence[float], seed: int, paired: bool
) -> dict[str, float] | None:
    """Mean of the one over the mean of the other, with its bootstrap interval; None where there is no such number.

    ``paired``: the values are of the same items, drawn together; ValueError when they are not equally many. Values that are not
    finite are left out, paired ones with their partners.

    Example:
        >>> ratio_of_means([1.0, 1.0], [2.0, 2.0], seed=0, paired=True)
        {'ratio': 0.5, 'ratio_low': 0.5, 'ratio_high': 0.5}
    """
    top, bottom = (np.asarray(values, dtype=np.float64) for values in (numerator, denominator))
    if paired:
        if len(top) != len(bottom):
            raise ValueError(f"a paired ratio needs equally many values, not {len(top)} and {len(bottom)}")
        both = np.isfinite(top) & np.isfinite(bottom)
        top, bottom = top[both], bottom[both]
    top, bottom = top[np.isfinite(top)], bottom[np.isfinite(bottom)]
    if not top.size or not bottom.size or bottom.mean() <= 0:
        return None
    # Another seed gives resamples that know nothing of the first ones.
    drawn = resamples(top.size, seed), resamples(bottom.size, seed if paired else seed + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = top[drawn[0]].mean(axis=1) / bottom[drawn[1]].mean(axis=1)
    low, high = percentile_interval(ratios[np.isfinite(ratios)])
    return {"ratio": float(top.mean() / bottom.mean()), "ratio_low": low, "ratio_high": high}


def ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """Ranks of the values less their mean; ties share theirs."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    # The mean rank of equal values: their last one less half of how many others there are.
    found: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return found - found.mean()


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's correlation: 1 when both rise together, -1 when one falls; 0 when either is constant. Ties share their rank."""
    if len(one) != len(other) or len(one) < 2:
        raise ValueError(
            f"a rank correlation needs two equally long lists of at least two, not {len(one)} and {len(other)}"
        )
    a, b = ranks(one), ranks(other)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else 0.0


def paired_differences(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], seed: int
) -> dict[str, dict[str, float]]:
    """:func:`paired_difference` by name; names without an item that is finite on both sides are left out."""
    return {
        name: paired_difference(values, after[name], seed)
        for name, values in before.items()
        if bool((np.isfinite(values) & np.isfinite(after[name])).any())
    }
