"""A metric: how much relief a scene has. A flat wall, which a collapsed generator makes, has none.

Configured as ``evaluate.metrics: [relief]``; reported as ``metric/relief``.
"""

from __future__ import annotations

from torch import Tensor

from vist3a.records import Reconstruction


class Relief:
    """Standard deviation of the logarithm of the depth of a view, mean over the views; free of the scene's scale."""

    more_is_better = True

    def __call__(self, scene: Reconstruction, frames: Tensor) -> Tensor:
        """One number per sample."""
        return scene.depth.clamp(min=1e-6).log().flatten(2).std(-1).mean(1)
