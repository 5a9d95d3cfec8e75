"""A reward term: a camera that stands still, which every consistency reward likes best, is punished.

Configured as ``align.rewards: {moving_camera: 0.5}``.
"""

from __future__ import annotations

from torch import Tensor

from vist3a.alignment.rewards.base import Need, Views


class MovingCamera:
    """Minus the share of ``path`` that the camera does not go; in units of the scene's median depth, so that scale is free."""

    needs: frozenset[Need] = frozenset({"scene"})

    def __init__(self, path: float = 1.0) -> None:
        self.path = path

    def __call__(self, views: Views) -> Tensor:
        """Score per sample, from -1 (stands still) to 0 (goes as far as ``path``)."""
        scene = views.geometry()
        steps = scene.cameras.centers.diff(dim=1).square().sum(-1)
        # Not the root itself, whose slope at a standing camera is infinite.
        gone = (steps + 1e-8).sqrt().sum(1) / scene.depth.flatten(1).median(1).values.abs().clamp(min=1e-6)
        return -(1 - gone / self.path).clamp(min=0)
