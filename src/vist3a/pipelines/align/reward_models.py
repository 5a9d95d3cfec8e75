"""The networks behind the reward, loaded before anything that takes long."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vist3a.models.networks import DTYPES
from vist3a.models.scorers import DualEncoder
from vist3a.models.scorers.loading import load_perceptual, load_scorer
from vist3a.models.weights import registered_rewards
from vist3a.pipelines.align.params import AlignParams
from vist3a.rewards.consistency import Distance, feature_distance
from vist3a.rewards.terms import PERCEPTUAL, renders, weighted_terms
from vist3a.rewards.text_image import TextImageScorer
from vist3a.rewards.weighted_sum import WeightedSum


@dataclass(frozen=True)
class RewardModels:
    """Text-image scorers by the name that their terms begin with, the perceptual distance, and the judge where one is asked."""

    params: AlignParams
    scorers: dict[str, TextImageScorer]
    perceptual: Distance | None
    judge: TextImageScorer | None

    def reward(self, has_gaussians: bool) -> WeightedSum:
        """The reward for a 3D network with or without Gaussians."""
        return weighted_terms(self.params.weights(has_gaussians), self.scorers, self.perceptual)

    def watched(self, has_gaussians: bool) -> dict[str, WeightedSum]:
        """The reward and, where one is asked, the judge's mean verdict on all kinds of views there are."""
        if self.judge is None:
            return {}
        kinds = ("text_decoded", "text_rendered") if has_gaussians else ("text_decoded",)
        judge = weighted_terms(dict.fromkeys(kinds, 1.0 / len(kinds)), {"text": self.judge}, None)
        return {"reward": self.reward(has_gaussians), "judge": judge}


def load_reward_models(params: AlignParams, device: torch.device, watched: bool = True) -> RewardModels:
    """What the terms with a weight need; errors in one sentence when a file is missing. ``watched`` false leaves the judge out."""
    dtype, public = DTYPES[params.reward_dtype], registered_rewards()
    terms = {**params.rewards.given(), **params.pointmap_rewards.given()}
    sources = {"text": ("align.reward_scorer", params.reward_scorer)}
    sources |= {name: (f"align.reward_models.{name}", source) for name, source in params.reward_models.items()}
    distance_needed = PERCEPTUAL in terms
    own_distance = distance_needed and params.perceptual is None
    scorers = {
        name: load_scorer(source, where, device, dtype, public)
        for name, (where, source) in sources.items()
        if f"{name}_decoded" in terms or f"{name}_rendered" in terms or (name == "text" and own_distance)
    }
    distance: Distance | None = None
    if own_distance:
        encoder = scorers["text"]
        if not isinstance(encoder, DualEncoder):
            raise ValueError(
                f"align.perceptual: null for reward_scorer {params.reward_scorer}, which has no feature maps; allowed: lpips-vgg, or "
                f"a null weight of {PERCEPTUAL}"
            )
        distance = feature_distance(encoder.image.features)
    elif distance_needed and params.perceptual is not None:
        distance = load_perceptual(params.perceptual, "align.perceptual", device, public)
    judge = None
    if watched and params.watch.judge_every:
        judge = load_scorer(params.watch.judge, "align.watch.judge", device, dtype, public)
    return RewardModels(params, dict(scorers), distance, judge)
