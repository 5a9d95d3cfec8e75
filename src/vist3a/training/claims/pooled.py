"""Means and differences over the scenes of all seeds, with intervals over scenes and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vist3a.metrics.aggregate import nested_counts, percentile_interval, resampled_means

BySeed = Mapping[str, Mapping[str, Mapping[str, Sequence[float | None]]]]
Estimate = dict[str, float]
"""``value`` with the ends ``low`` and ``high`` of its 95 % interval."""

MORE_IS_BETTER = frozenset(
    {
        "depth_delta_125", "normals", "f_score", "rra_5", "rta_5", "auc_30", "nvs_psnr", "nvs_ssim", "consistency_psnr",
        "reprojection/covered",
    }
)  # fmt: skip
SCORES = ("accuracy/", "judge/", "reward/", "sharpness/")


def more_is_better(figure: str) -> bool:
    """Whether more of a figure is better; of all that are neither scores nor named here less is."""
    return figure in MORE_IS_BETTER or figure.startswith(SCORES)


class Pooled:
    """Values by (variant, figure) of the items of all seeds. All variants of a seed have the same items, so that differences are
    paired; the resamples are the same for everything (see ``nested_counts``).
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

    def mean(self, variant: str, figure: str) -> Estimate:
        """Mean over all items; those without a finite value do not count."""
        return self._estimate(self._values[variant, figure])

    def difference(self, variant: str, reference: str, figure: str, together: int = 1) -> Estimate:
        """Mean of ``variant`` minus ``reference`` over the items that have both.

        ``together``: how many intervals are to hold at once with 95 %, each of which is so much wider (Bonferroni).
        """
        return self._estimate(self._values[variant, figure] - self._values[reference, figure], 1 - 0.05 / together)

    def recovered(self, variant: str, worst: str, best: str, figures: Sequence[str]) -> Estimate | None:
        """Share of the mean loss from ``best`` to ``worst`` that ``variant`` does not have, mean of the shares of ``figures``.

        Figures in which ``worst`` is not worse have no share; None when none has one. Resamples without a loss are left out.
        """
        shares, resampled = [], []
        for figure in figures:
            own, bad, good = (self._values[name, figure] for name in (variant, worst, best))
            sign = -1 if more_is_better(figure) else 1
            columns = sign * np.stack([bad - own, bad - good], 1)
            gained, lost = np.nanmean(columns, 0)
            if lost > 0:
                shares.append(gained / lost)
                means = resampled_means(columns, self._counts)
                resampled.append(means[:, 0] / np.where(means[:, 1] > 0, means[:, 1], np.nan))
        if not shares:
            return None
        usable = np.isfinite(resampled).all(0)
        low, high = percentile_interval(np.mean(resampled, 0)[usable])
        return {"value": float(np.mean(shares)), "low": low, "high": high}

    def _estimate(self, values: NDArray[np.float64], level: float = 0.95) -> Estimate:
        if not np.isfinite(values).any():
            raise ValueError("no item has a finite value")
        low, high = percentile_interval(resampled_means(values[:, None], self._counts)[:, 0], level)
        return {"value": float(values[np.isfinite(values)].mean()), "low": low, "high": high}
