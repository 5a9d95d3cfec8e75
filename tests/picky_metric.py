"""A metric of somebody else's that fails on one scene."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vist3a.records import Reconstruction


class PickyMetric:
    """Mean depth, but of the third scene that it is asked about."""

    more_is_better = True

    def __init__(self) -> None:
        self._asked = 0

    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        self._asked += 1
        if self._asked == 3:
            raise ValueError("no third scene; allowed: all others")
        return scene.depth.flatten(1).mean(1)
