"""Means with their uncertainty, and paired comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def bootstrap_interval(values: Sequence[float], seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron, 1979); both ends equal the value when there is only one."""
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("an interval needs at least one value")
    draws = np.random.default_rng(seed).integers(0, data.size, (RESAMPLES, data.size))
    means = data[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(before: Sequence[float], after: Sequence[float], seed: int) -> dict[str, float]:
    """Mean of after - before over the same items, with its bootstrap interval and the share of items that rose."""
    if len(before) != len(after):
        raise ValueError(f"a paired comparison needs equally many values, not {len(before)} and {len(after)}")
    difference = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    low, high = bootstrap_interval(difference.tolist(), seed)
    return {
        "before": float(np.mean(before)),
        "after": float(np.mean(after)),
        "difference": float(difference.mean()),
        "difference_low": low,
        "difference_high": high,
        "share_risen": float((difference > 0).mean()),
    }
