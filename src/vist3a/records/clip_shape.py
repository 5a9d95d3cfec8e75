"""How long and how large clips are."""

from __future__ import annotations

from dataclasses import dataclass

from vist3a.runtime.bounds import Positive


@dataclass(frozen=True, kw_only=True)
class ClipShape:
    """Number of frames and their size in pixels.

    Attributes:
        frames: A number that the generator takes (``allowed_frames``).
        height: Rows of a frame.
        width: Columns of a frame.
    """

    frames: Positive
    height: Positive
    width: Positive
