"""Which frames of a candidate are usable, and which smooth stretch of them is the longest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Annotated

from annotated_types import Ge, Le
from jaxtyping import UInt8
from torch import Tensor

from vist3a.data.frame_statistics import FrameStatistics, colour_change, frame_statistics, layout_likeness, luma
from vist3a.data.rejected import RejectedError
from vist3a.data.sampling import MIN_VIEWS
from vist3a.runtime.bounds import Fraction, NotNegative


@dataclass(frozen=True)
class Limits:
    """What is allowed of real clips; see :mod:`vist3a.data.frame_statistics` for the measures.

    Attributes:
        min_brightness: Least mean brightness of a frame, in [0, 1].
        max_brightness: Largest mean brightness.
        min_contrast: Least contrast.
        min_sharpness: Least variance of the Laplacian over the variance of luma.
        min_relative_sharpness: The same relative to the median of the shot (motion blur).
        min_difference: A frame that differs less than this from the one before repeats it.
        cut_colour_change: A scene cut changes the colors of more than this share of the pixels ...
        cut_likeness: ... and correlates less than this with the frame before.
        min_motion: Share of the picture that changes between views.
        max_stride: Largest mean step between views, in frames of the source.
    """

    min_brightness: Fraction = 0.03
    max_brightness: Fraction = 0.97
    min_contrast: Fraction = 0.015
    min_sharpness: NotNegative = 0.01
    min_relative_sharpness: Fraction = 0.25
    min_difference: Fraction = 0.003
    cut_colour_change: Fraction = 0.28
    cut_likeness: Annotated[float, Ge(-1), Le(1)] = 0.6
    min_motion: Fraction = 0.3
    max_stride: Annotated[float, Ge(1)] = 8.0


@dataclass(frozen=True)
class Stretch:
    """Usable frames between two cuts: their numbers in the source and their statistics."""

    indices: tuple[int, ...]
    statistics: tuple[FrameStatistics, ...]


def longest_stretch(
    frames: Iterable[UInt8[Tensor, "3 height width"]], limits: Limits, needed: int = MIN_VIEWS
) -> Stretch:
    """Longest run of usable frames without a scene cut (the first of equals). Holds one frame at a time.

    Raises:
        RejectedError: Fewer than ``needed`` such frames; the sentence names the commonest defect.
    """
    defects: Counter[str] = Counter()
    shots: list[list[tuple[int, FrameStatistics]]] = [[]]
    kept: tuple[Tensor, Tensor] | None = None
    total = 0
    for index, frame in enumerate(frames):
        total += 1
        grey = luma(frame)
        statistics = frame_statistics(grey)
        defect = _frame_defect(statistics, limits)
        if defect is None and kept is not None:
            # Against the last kept frame, so that a slow drift adds up instead of being dropped frame by frame.
            if float((grey - kept[1]).abs().mean()) < limits.min_difference:
                defect = f"repeat the one before (mean difference at least {limits.min_difference:g} is allowed)"
            elif _is_cut(kept, (frame, grey), limits):
                shots.append([])
        if defect is not None:
            defects[defect] += 1
            continue
        shots[-1].append((index, statistics))
        kept = (frame, grey)
    if total < needed:
        raise RejectedError(f"{total} frame{'s' if total != 1 else ''} found; at least {needed} are needed")
    # Motion blur is judged against the rest of the shot, so the shot must be known first.
    best = max((_without_blurred(shot, limits) for shot in shots), key=len)
    if len(best) < needed:
        raise RejectedError(_reason(total, defects, shots, len(best), limits, needed))
    return Stretch(tuple(index for index, _ in best), tuple(statistics for _, statistics in best))


def _frame_defect(statistics: FrameStatistics, limits: Limits) -> str | None:
    if statistics.brightness < limits.min_brightness:
        return f"are too dark (mean brightness at least {limits.min_brightness:g} of 1 is allowed)"
    if statistics.brightness > limits.max_brightness:
        return f"are too bright (mean brightness at most {limits.max_brightness:g} of 1 is allowed)"
    if statistics.contrast < limits.min_contrast:
        return f"are of one colour (contrast at least {limits.min_contrast:g} is allowed)"
    if statistics.sharpness < limits.min_sharpness:
        return f"are blurred (sharpness at least {limits.min_sharpness:g} is allowed)"
    return None


def _is_cut(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], limits: Limits) -> bool:
    # Colours alone change under exposure control, the layout alone under a wide step of the camera: a cut changes both.
    return (
        colour_change(before[0], after[0]) > limits.cut_colour_change
        and layout_likeness(before[1], after[1]) < limits.cut_likeness
    )


def _without_blurred(shot: list[tuple[int, FrameStatistics]], limits: Limits) -> list[tuple[int, FrameStatistics]]:
    """Without frames blurred by motion: far below the sharpness usual in their shot."""
    if not shot:
        return []
    lowest = limits.min_relative_sharpness * median(statistics.sharpness for _, statistics in shot)
    return [item for item in shot if item[1].sharpness >= lowest]


def _reason(
    total: int,
    defects: Counter[str],
    shots: list[list[tuple[int, FrameStatistics]]],
    best: int,
    limits: Limits,
    needed: int,
) -> str:
    # Cuts are to blame where enough frames are usable in all; else motion blur, or the commonest defect.
    usable = sum(map(len, shots))
    if usable >= needed and len(shots) > 1:
        return f"{len(shots) - 1} scene cuts leave no more than {best} frames of one shot; at least {needed} are needed"
    if not defects:
        lowest = f"at least {limits.min_relative_sharpness:g} times the usual sharpness is allowed"
        return f"{usable - best} of {total} frames are blurred by motion ({lowest}), leaving {best} of {needed}"
    defect, count = defects.most_common(1)[0]
    return f"{count} of {total} frames {defect}, leaving {best} usable ones of the {needed} needed"
