"""How many frames a clip may have: every video generator has its own rule, and is asked for it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

AllowedFrames = Callable[[int], int]
"""The allowed number of frames that is nearest to a number, which is that number itself where it is allowed."""

FAR = 4096
"""Frames above the wanted number within which the next allowed one is looked for."""


def any_frames(frames: int) -> int:
    """The rule of those who take any number of frames."""
    return max(1, frames)


def causal_frames(stride: int) -> AllowedFrames:
    """The rule of autoencoders that encode the first frame alone and then ``stride`` frames at a time.

    Example:
        >>> [causal_frames(8)(frames) for frames in (1, 9, 13, 14)]
        [1, 9, 9, 17]
    """

    def nearest(frames: int) -> int:
        # Of two numbers that are equally near the smaller one.
        return max(0, 2 * (frames - 1) + stride - 1) // (2 * stride) * stride + 1

    return nearest


def at_most(allowed: AllowedFrames, frames: int) -> int:
    """Largest allowed number of frames up to ``frames``; 0 where there is none.

    Example:
        >>> at_most(lambda n: max(0, n - 1) // 8 * 8 + 1, 15)
        9
    """
    return next((count for count in range(frames, 0, -1) if allowed(count) == count), 0)


def at_least(allowed: AllowedFrames, frames: int) -> int:
    """Smallest allowed number of frames from ``frames`` on; 0 where there is none."""
    first = max(1, frames)
    return next((count for count in range(first, first + FAR) if allowed(count) == count), 0)


def check_frames(allowed: AllowedFrames, frames: int, who: str = "this generator", where: str | None = None) -> None:
    """ValueError unless ``frames`` is allowed; it says what ``who`` takes, and the nearest numbers on both sides.

    ``where`` is the parameter that said the number.
    """
    if frames >= 1 and allowed(frames) == frames:
        return
    first = list(islice((count for count in range(1, FAR) if allowed(count) == count), 3))
    near = [str(count) for count in (at_most(allowed, frames), at_least(allowed, frames)) if count]
    said, taken = f"{where}: " if where else "", ", ".join(map(str, first))
    raise ValueError(f"{said}{frames} frames: {who} takes {taken}, ... frames (nearest: {' or '.join(near) or 'none'})")
