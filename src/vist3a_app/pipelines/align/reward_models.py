"""The networks behind the reward, loaded before anything that takes long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from vist3a.alignment.reward_models import load_perceptual, load_scorer
from vist3a.alignment.rewards.consistency import Distance, feature_distance
from vist3a.alignment.rewards.terms import DIVERSITY, KINDS, PERCEPTUAL, weighted_terms
from vist3a.alignment.rewards.text_image import FeatureScorer, TextImageScorer
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.pairing import DTYPES
from vist3a.weights.public import PublicWeights
from vist3a_app.pipelines.align.params import AlignParams


@dataclass(frozen=True)
class RewardModels:
    """The reward, and what the watch compares: the same reward and the judge's verdict (nothing where no judge is asked)."""

    reward: WeightedSum
    watched: dict[str, WeightedSum]


def load_reward_models(
    params: AlignParams,
    has_gaussians: bool,
    device: torch.device,
    public: Mapping[str, PublicWeights],
    watched: bool = True,
) -> RewardModels:
    """What the terms with a weight need; one sentence when a file is missing. ``watched`` false leaves the judge out.

    ``public`` are the published reward models by name.
    """
    dtype, weights = DTYPES[params.reward_dtype], params.weights(has_gaussians)
    sources = {"text": ("align.reward_scorer", params.reward_scorer)}
    sources |= {name: (f"align.reward_models.{name}", source) for name, source in params.further_models().items()}
    # Without LPIPS, features of the text scorer: it is loaded for them even if no text term has a weight.
    needs_distance = bool({PERCEPTUAL, DIVERSITY} & weights.keys())
    own_distance = needs_distance and params.perceptual is None
    scorers: dict[str, TextImageScorer] = {
        name: load_scorer(source, where, device, dtype, public, compiled=params.compile)
        for name, (where, source) in sources.items()
        if any(f"{name}_{kind}" in weights for kind in KINDS) or (name == "text" and own_distance)
    }
    distance: Distance | None = None
    if own_distance:
        encoder = scorers["text"]
        if not isinstance(encoder, FeatureScorer):
            raise ValueError(
                f"align.perceptual: null for reward_scorer {params.reward_scorer}, which has no feature maps; allowed: "
                f"lpips-vgg, or null weights of {PERCEPTUAL} and {DIVERSITY}"
            )
        distance = feature_distance(encoder.feature_maps)
    elif needs_distance and params.perceptual is not None:
        distance = load_perceptual(params.perceptual, "align.perceptual", device, public)
    reward = weighted_terms(weights, scorers, distance, params.motion, params.diversity, params.views_at_once)
    if not watched or not params.watch.judge_every:
        return RewardModels(reward, {})
    judge = load_scorer(params.watch.judge, "align.watch.judge", device, dtype, public)
    return RewardModels(reward, {"reward": reward, "judge": text_verdict(judge, has_gaussians)})


def text_verdict(judge: TextImageScorer, has_gaussians: bool) -> WeightedSum:
    """How well a judge finds the prompt in decoded frames and, where there are Gaussians, in renderings."""
    terms = ("text_decoded", "text_rendered") if has_gaussians else ("text_decoded",)
    return weighted_terms(dict.fromkeys(terms, 1.0 / len(terms)), {"text": judge}, None)
