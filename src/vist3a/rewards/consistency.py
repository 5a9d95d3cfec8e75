"""Consistency of decoded frames and renderings of the decoded 3D (VIST3A eq. 6): -(l1 + lambda * perceptual), as two terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from vist3a.rewards.base import Views


class PhotometricConsistency:
    """Minus the mean absolute difference."""

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score in [-1, 0]."""
        return -(views.decoded - views.rendered).abs().mean((1, 2, 3, 4))


class PerceptualConsistency:
    """Minus the mean distance of channel-normalised feature maps (the distance of LPIPS, unweighted)."""

    def __init__(self, features: Callable[[Tensor], Sequence[Tensor]]) -> None:
        self.features = features

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score <= 0; features are taken from images in [-1, 1]."""
        batch, count = views.decoded.shape[:2]
        a = self.features(views.decoded.flatten(0, 1) * 2 - 1)
        b = self.features(views.rendered.flatten(0, 1) * 2 - 1)
        distance = sum(
            (nn.functional.normalize(x, dim=1) - nn.functional.normalize(y, dim=1)).square().sum(1).mean((1, 2))
            for x, y in zip(a, b, strict=True)
        )
        assert isinstance(distance, Tensor)
        return -distance.view(batch, count).mean(1) / len(a)
