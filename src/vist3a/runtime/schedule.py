"""Learning-rate schedule."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "constant"]


def rate_factor(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """Factor on the peak learning rate at ``step``: linear warm-up, then down a cosine or constant."""
    if schedule == "cosine" or step < warmup:
        return warmup_cosine(step, steps, warmup)
    return 1.0


def warmup_cosine(step: int, steps: int, warmup: int, floor: float = 0.02) -> float:
    """Factor on the peak learning rate: linear warm-up, then cosine down to ``floor``."""
    if step < warmup:
        # Not 0 at the first step, which would be a step lost.
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
