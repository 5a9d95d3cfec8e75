"""Scenes whose pictures, depth and cameras are known exactly."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vist3a.records.cameras import Cameras


@dataclass(frozen=True)
class ExactScenes:
    """A batch of scenes: ``frames`` views in path order, then held-out views; z-depth in the world's unit, rgb in [0, 1]."""

    rgb: Float[Tensor, "batch views 3 height width"]
    depth: Float[Tensor, "batch views height width"]
    cameras: Cameras
    captions: tuple[str, ...]
    frames: int

    @property
    def given(self) -> Float[Tensor, "batch frames 3 height width"]:
        """The views that a network is shown."""
        return self.rgb[:, : self.frames]
