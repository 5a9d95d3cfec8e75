"""Which views of a stretch become the clip."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

MIN_VIEWS = 5
"""Smallest clip: one latent frame for the first view and one for the next four."""


def view_count(available: int, wanted: int) -> int:
    """Largest 4n+1 (the frame counts of causal video autoencoders) within ``available`` and ``wanted``; 0 below 5."""
    count = (min(available, wanted) - 1) // 4 * 4 + 1
    return count if count >= MIN_VIEWS else 0


def choose_views(
    available: int, wanted: int, max_stride: float, sharpness: Sequence[float] | None = None
) -> tuple[list[int], float]:
    """Evenly spread views over a smooth stretch.

    The views span the whole stretch unless that needs a stride above ``max_stride``; then they span its middle. With
    ``sharpness`` given, each view may move by up to a quarter of the stride to a sharper neighbour.

    Args:
        available: Frames of the stretch.
        wanted: Views wanted (fewer are chosen where the stretch is shorter, see ``view_count``).
        max_stride: Largest mean step between views, in frames.
        sharpness: One value per frame of the stretch.

    Returns:
        Strictly increasing positions within the stretch, and the stride.
    """
    if max_stride < 1:
        raise ValueError(f"max_stride is {max_stride}; at least 1 is allowed")
    count = view_count(available, wanted)
    if count == 0:
        raise ValueError(f"a stretch of {available} frames for {wanted} views; both must be at least {MIN_VIEWS}")
    stride = min(max_stride, (available - 1) / (count - 1))
    start = (available - 1 - stride * (count - 1)) / 2
    positions = [floor(start + i * stride + 0.5) for i in range(count)]  # round() would send 0.5 and 1.5 to 0 and 2
    reach = int(stride // 4)
    if sharpness is not None and reach:
        positions = [_sharpest(position, reach, sharpness) for position in positions]
    return positions, stride


def _sharpest(position: int, reach: int, sharpness: Sequence[float]) -> int:
    near = range(max(0, position - reach), min(len(sharpness), position + reach + 1))
    return max(near, key=lambda i: (sharpness[i], -abs(i - position), -i))
