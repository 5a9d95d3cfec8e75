"""Text-image reward: how well single views show the prompt, on decoded frames or on renderings (VIST3A eq. 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vist3a.alignment.rewards.base import Kind, Need, Views
from vist3a.runtime.slices import in_slices


@runtime_checkable
class TextImageScorer(Protocol):
    """Anything that embeds texts and scores images in [0, 1] against them."""

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """One embedding per text."""
        ...

    def score(self, images: Tensor, text: Tensor) -> Tensor:
        """One score per image."""
        ...


@runtime_checkable
class FeatureScorer(TextImageScorer, Protocol):
    """A scorer whose feature maps give a perceptual distance, and which may say whether a clip shows a prompt."""

    def feature_maps(self, images: Tensor) -> Sequence[Tensor]:
        """Feature maps of images in [-1, 1], finest first."""
        ...

    def verdict(self) -> Callable[[str, Tensor], bool] | None:
        """Whether frames [views, 3, height, width] show a prompt of the scorer's own world; None where it cannot say."""
        ...


class TextImageReward:
    """Mean score over the views of a sample; a graph holds ``at_once`` images (see :func:`vist3a.runtime.slices.in_slices`)."""

    def __init__(self, scorer: TextImageScorer, on: Kind, at_once: int | None = None) -> None:
        self.scorer, self.on, self.at_once = scorer, on, at_once
        self.needs: frozenset[Need] = frozenset({on})

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score in the scorer's own range (cosine similarity for all that we have)."""
        images = views.images(self.on)
        batch, count = images.shape[:2]
        text = self.scorer.embed_text(views.prompts)
        # Views of one sample lie together, and share its text.
        score = in_slices(self.scorer.score, self.at_once)
        scores = score(images.flatten(0, 1), text.repeat_interleave(count, dim=0))
        return scores.view(batch, count).mean(1)
