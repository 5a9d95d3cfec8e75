"""The judge of an evaluation: its score, and its verdict on prompts that it understands."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from vist3a.alignment.generation_scores import Verdict
from vist3a.alignment.reward_models import load_scorer
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.alignment.rewards.terms import term_names
from vist3a.alignment.rewards.text_image import FeatureScorer
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.pairing import DTYPES
from vist3a.weights.public import PublicWeights
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.reward_models import text_verdict
from vist3a_app.pipelines.evaluate.params import EvaluateParams


def load_judge(
    params: EvaluateParams,
    align: AlignParams,
    has_gaussians: bool,
    device: torch.device,
    public: Mapping[str, PublicWeights],
) -> tuple[dict[str, WeightedSum], Verdict | None]:
    """Its score by the name ``judge`` (none where no term of the reward is its own), and whether frames show a prompt."""
    judge = load_scorer(params.judge, "evaluate.judge", device, DTYPES[align.reward_dtype], public)
    if not isinstance(judge, FeatureScorer):
        return {"judge": text_verdict(judge, has_gaussians)}, None
    # The judge scores by the terms that are its own; those of other models say the same whoever asks.
    own = {name: w for name, w in align.weights(has_gaussians).items() if name in term_names(("text",))}
    # Only prompts of its own world say what the judge should find.
    verdict = judge.verdict() if params.prompts_file is None else None
    return {"judge": reward_from(judge, own)} if own else {}, verdict
