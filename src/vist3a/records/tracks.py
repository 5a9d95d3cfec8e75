"""Points followed through the frames of a clip."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Tracks:
    """Where points of the first view lie in every view.

    ``positions`` are pixels (x, y) after each refinement, the last one used; the centre of the first pixel is (0.5, 0.5).
    In the first view they are the points asked for. ``visibility`` and ``confidence`` lie in [0, 1].
    """

    positions: Float[Tensor, "iterations batch views points 2"]
    visibility: Float[Tensor, "batch views points"]
    confidence: Float[Tensor, "batch views points"]
