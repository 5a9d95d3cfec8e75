"""Whether a training did good or harm, by errors on clips that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

SMALLEST = 1e-12
"""Errors below it count as it, so that their ratio is a number."""


@dataclass(frozen=True)
class Verdict:
    """``better``: the errors fell on the geometric mean over the figures; ``worse`` names the figures that rose."""

    better: bool
    worse: tuple[str, ...]

    @property
    def kept(self) -> str:
        """Which decoder goes on."""
        return "distilled" if self.better else "closed form"


def judge(before: Mapping[str, float], after: Mapping[str, float]) -> Verdict:
    """Compare held-out errors (all of them: less is better) before and after; an error that is no number counts as harm.

    Example:
        >>> judge({"depth": 0.1, "rotation": 2.0}, {"depth": 0.2, "rotation": 1.5})
        Verdict(better=False, worse=('depth',))
    """
    ratios = {name: max(after[name], SMALLEST) / max(before[name], SMALLEST) for name in before}
    # Not "above 1": NaN is neither, and counts as harm.
    worse = tuple(name for name, ratio in ratios.items() if not ratio <= 1)
    # The geometric mean is below 1 where the logarithms sum to less than zero.
    logarithms = [math.log(ratio) if math.isfinite(ratio) else math.inf for ratio in ratios.values()]
    return Verdict(sum(logarithms) < 0, worse)
