"""Reward hacking: what is optimised rises on the same prompts and noise while a judge that nothing optimises falls."""

from __future__ import annotations

import logging

from vist3a.metrics.trend import rising

logger = logging.getLogger(__name__)


PROBABILITY = 0.05
"""Both trends must have at most this probability of being chance."""


class DriftAlarm:
    """Warns once when the two drift apart, and again only after they have come together in between.

    The last ``window`` measurements are looked at.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._warned = False

    def __call__(self, series: dict[int, tuple[float, float]]) -> bool:
        """Whether (reward, judge) by step drift apart at the last step."""
        steps = sorted(series)[-self.window :]
        if len(steps) < self.window:
            return False
        reward, judge = zip(*(series[step] for step in steps), strict=True)
        # Both trends must hold, so the less certain of the two decides.
        apart = max(rising(reward), rising([-value for value in judge])) <= PROBABILITY
        if apart and not self._warned:
            logger.warning(
                "the reward rises (%.4g to %.4g) while the judge falls (%.4g to %.4g) between steps %d and %d on the same "
                "prompts and noise: the generator may be learning to please the reward models only; consider stopping",
                reward[0], reward[-1], judge[0], judge[-1], steps[0], steps[-1],
            )  # fmt: skip
        self._warned = apart
        return apart
