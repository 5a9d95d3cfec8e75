"""Which views of a stretch become the clip."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

from vist3a.records.frame_count import AllowedFrames, any_frames, at_least, at_most

MIN_VIEWS = 5
"""Fewer views are no clip, whatever the generator."""


def view_count(available: int, wanted: int, allowed: AllowedFrames = any_frames) -> int:
    """Largest number that a video generator takes within ``available`` and ``wanted``; 0 below 5."""
    count = at_most(allowed, min(available, wanted))
    return count if count >= MIN_VIEWS else 0


def fewest_views(allowed: AllowedFrames) -> int:
    """Views of the smallest clip that a video generator takes: 5 or the next allowed number."""
    return at_least(allowed, MIN_VIEWS)


def choose_views(
    available: int,
    wanted: int,
    max_stride: float,
    sharpness: Sequence[float] | None = None,
    allowed: AllowedFrames = any_frames,
) -> tuple[list[int], float]:
    """Evenly spread views over a smooth stretch.

    The views span the whole stretch unless that needs a stride above ``max_stride``; then they span its middle. With
    ``sharpness`` given, each view may move by up to a quarter of the stride to a sharper neighbour.

    Args:
        available: Frames of the stretch.
        wanted: Views wanted (fewer are chosen where the stretch is shorter, see ``view_count``).
        max_stride: Largest mean step between views, in frames.
        sharpness: One value per frame of the stretch.
        allowed: The rule of the video generator that will see the clip.

    Returns:
        Strictly increasing positions within the stretch, and the stride.
    """
    if max_stride < 1:
        raise ValueError(f"max_stride is {max_stride}; at least 1 is allowed")
    count = view_count(available, wanted, allowed)
    if count == 0:
        raise ValueError(
            f"a stretch of {available} frames for {wanted} views; both must be at least {fewest_views(allowed)}"
        )
    stride = min(max_stride, (available - 1) / (count - 1))
    start = (available - 1 - stride * (count - 1)) / 2
    positions = [floor(start + i * stride + 0.5) for i in range(count)]  # round() would send 0.5 and 1.5 to 0 and 2
    # Two neighbors that move by a quarter of the stride can neither meet nor change places.
    reach = int(stride // 4)
    if sharpness is not None and reach:
        positions = [_sharpest(position, reach, sharpness) for position in positions]
    return positions, stride


def _sharpest(position: int, reach: int, sharpness: Sequence[float]) -> int:
    near = range(max(0, position - reach), min(len(sharpness), position + reach + 1))
    # Of equals the nearest, then the earlier one.
    return max(near, key=lambda i: (sharpness[i], -abs(i - position), -i))
