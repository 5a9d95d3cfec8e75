"""Consistency of decoded frames and renderings of the decoded 3D: -(l1 + lambda * perceptual) (VIST3A eq. 6), and color."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.alignment.rewards.base import Need, Views
from vist3a.runtime.slices import in_slices

BOTH: frozenset[Need] = frozenset({"decoded", "rendered"})
Distance = Callable[[Tensor, Tensor], Tensor]
"""Distance >= 0 of pairs of images in [0, 1], one number per pair."""


class PhotometricConsistency:
    """Minus the mean absolute difference."""

    needs = BOTH

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score in [-1, 0]."""
        return -(views.images("decoded") - views.images("rendered")).abs().mean((1, 2, 3, 4))


class ColorConsistency:
    """Minus the mean absolute difference of the mean colors of whole frames.

    One 3D scene has one light: where frames flicker, their renderings do not. In the difference of pixels this is hardly seen.
    """

    needs = BOTH

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score in [-1, 0]."""
        return -(views.images("decoded") - views.images("rendered")).mean((-2, -1)).abs().mean((1, 2))


class PerceptualConsistency:
    """Minus the mean perceptual distance; a graph holds ``at_once`` pairs (see :func:`vist3a.runtime.slices.in_slices`)."""

    needs = BOTH

    def __init__(self, distance: Distance, at_once: int | None = None) -> None:
        self.distance, self.at_once = distance, at_once

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score <= 0."""
        decoded, rendered = views.images("decoded"), views.images("rendered")
        distance = in_slices(self.distance, self.at_once)(decoded.flatten(0, 1), rendered.flatten(0, 1))
        return -distance.view(decoded.shape[:2]).mean(1)


def feature_distance(features: Callable[[Tensor], Sequence[Tensor]]) -> Distance:
    """The distance of LPIPS without learned channel weights, in any ``features`` of images in [-1, 1]; mean over the maps."""

    def distance(first: Tensor, second: Tensor) -> Tensor:
        # LPIPS (Zhang et al., 2018): channels of unit length at every place, then squared differences.
        pairs = zip(features(first * 2 - 1), features(second * 2 - 1), strict=True)
        terms = [
            (nn.functional.normalize(x, dim=1) - nn.functional.normalize(y, dim=1)).square().sum(1).mean((1, 2))
            for x, y in pairs
        ]
        return torch.stack(terms).mean(0)

    return distance
