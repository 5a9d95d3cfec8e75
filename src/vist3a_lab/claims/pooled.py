"""Means and differences over the scenes of all seeds, with intervals over scenes and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vist3a.metrics.aggregate import (
    few_groups_factor,
    nested_counts,
    percentile_interval,
    resampled_means,
    stratified_counts,
)
from vist3a.metrics.direction import more_is_better

BySeed = Mapping[str, Mapping[str, Mapping[str, Sequence[float | None]]]]
Estimate = dict[str, float]
"""``value`` with the ends ``low`` and ``high`` of its 95 % interval."""


class Pooled:
    """Values by (variant, figure) of the items of all seeds. All variants of a seed have the same items, so that differences are
    paired; the resamples are the same for everything (see ``nested_counts``).

    Intervals are those of the two-stage bootstrap, in which the part that the seeds add to the items is widened for how few they
    are (see ``few_groups_factor``).
    """

    def __init__(self, by_seed: BySeed, seed: int) -> None:
        first = next(iter(by_seed.values()))
        self.variants = list(first)
        self.figures = {variant: list(rows) for variant, rows in first.items()}
        self._values = {
            (variant, figure): np.array(
                [value for found in by_seed.values() for value in found[variant][figure]], dtype=np.float64
            )
            for variant, rows in first.items()
            for figure in rows
        }
        sizes = [len(next(iter(next(iter(found.values())).values()))) for found in by_seed.values()]
        self._counts = nested_counts(sizes, seed)
        self._within = stratified_counts(sizes, seed)
        self._seeds = len(sizes)

    def mean(self, variant: str, figure: str) -> Estimate:
        """Mean over all items; those without a finite value do not count."""
        return self._estimate(self._values[variant, figure])

    def difference(self, variant: str, reference: str, figure: str, together: int = 1) -> Estimate:
        """Mean of ``variant`` minus ``reference`` over the items that have both.

        ``together``: how many intervals are to hold at once with 95 %, each of which is so much wider (Bonferroni).
        """
        return self._estimate(self._values[variant, figure] - self._values[reference, figure], 1 - 0.05 / together)

    def ratio(self, variant: str, reference: str, figure: str, together: int = 1) -> Estimate:
        """Mean of ``variant`` over that of ``reference``, both over the items that have both.

        ``together`` as in :meth:`difference`.

        Raises:
            ValueError: The mean of the reference is not above 0, so that there is no ratio to speak of.
        """
        own, other = self._values[variant, figure], self._values[reference, figure]
        both = np.isfinite(own) & np.isfinite(other)
        columns = np.where(both[:, None], np.stack([own, other], 1), np.nan)
        if not both.any() or columns[both, 1].mean() <= 0:
            raise ValueError(f"{figure} of {reference} has no mean above 0; a ratio to it says nothing")
        whole, within = (self._quotients(columns, counts) for counts in (self._counts, self._within))
        value = float(columns[both, 0].mean() / columns[both, 1].mean())
        return self._interval(value, whole, within, 1 - 0.05 / together)

    def recovered(self, variant: str, worst: str, best: str, figures: Sequence[str]) -> Estimate | None:
        """Share of the mean loss from ``best`` to ``worst`` that ``variant`` does not have, mean of the shares of ``figures``.

        Figures in which ``worst`` is not worse have no share; None when none has one. Resamples without a loss are left out.
        """
        shares, resampled = [], []
        for figure in figures:
            own, bad, good = (self._values[name, figure] for name in (variant, worst, best))
            # Signed so that the gain on the worst variant, and its loss to the best, are positive.
            sign = -1 if more_is_better(figure) else 1
            columns = sign * np.stack([bad - own, bad - good], 1)
            gained, lost = np.nanmean(columns, 0)
            if lost > 0:
                shares.append(gained / lost)
                resampled.append([self._shares(columns, counts) for counts in (self._counts, self._within)])
        if not shares:
            return None
        # By kind of resample, mean over the figures where all of them lose.
        kinds = [np.stack(kind) for kind in zip(*resampled, strict=True)]
        whole, within = (kind.mean(0)[np.isfinite(kind).all(0)] for kind in kinds)
        return self._interval(float(np.mean(shares)), whole, within, 0.95)

    @staticmethod
    def _quotients(columns: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ratios of the two columns' resampled means; resamples with nothing to divide by are left out."""
        found = Pooled._shares(columns, counts)
        return found[np.isfinite(found)]

    @staticmethod
    def _shares(columns: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
        gained, lost = resampled_means(columns, counts).T
        shares: NDArray[np.float64] = gained / np.where(lost > 0, lost, np.nan)
        return shares

    def _estimate(self, values: NDArray[np.float64], level: float = 0.95) -> Estimate:
        if not np.isfinite(values).any():
            raise ValueError("no item has a finite value")
        whole, within = (resampled_means(values[:, None], counts)[:, 0] for counts in (self._counts, self._within))
        mean = float(values[np.isfinite(values)].mean())
        return self._interval(mean, whole[np.isfinite(whole)], within[np.isfinite(within)], level)

    def _interval(
        self, value: float, whole: NDArray[np.float64], within: NDArray[np.float64], level: float
    ) -> Estimate:
        """``whole``: resampled over seeds and items, ``within``: over items alone."""
        ends = {}
        for name, sign, total, items in zip(
            ("low", "high"),
            (-1, 1),
            percentile_interval(whole, level),
            percentile_interval(within, level),
            strict=True,
        ):
            # Variances add up: beyond the items' part the rest is that of the seeds, and only it is widened.
            wide, narrow = max(0.0, sign * (total - value)), max(0.0, sign * (items - value))
            seeds = max(0.0, wide**2 - narrow**2) ** 0.5
            # Of one seed nothing is known about others: its interval is that of its items.
            grown = few_groups_factor(self._seeds, level) * seeds if self._seeds > 1 else 0.0
            ends[name] = value + sign * float(np.hypot(narrow, grown))
        return {"value": value, **ends}
