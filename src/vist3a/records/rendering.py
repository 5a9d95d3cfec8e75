"""What a renderer returns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Rendering:
    """Images rendered from Gaussians.

    ``rgb`` is composited over the background and not clamped above 1; ``depth`` is the alpha-weighted mean
    z-depth divided by alpha (0 where nothing was hit); ``alpha`` is the accumulated opacity.
    """

    rgb: Float[Tensor, "batch views 3 height width"]
    depth: Float[Tensor, "batch views height width"]
    alpha: Float[Tensor, "batch views height width"]
