"""The judge of an evaluation: its score, and its verdict on prompts that it understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from vist3a.alignment.generation_scores import Verdict
from vist3a.alignment.reward_models import load_perceptual, load_scorer
from vist3a.alignment.rewards.consistency import Distance, feature_distance
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.alignment.rewards.terms import HELD, term_names
from vist3a.alignment.rewards.text_image import FeatureScorer
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.pairing import DTYPES
from vist3a.weights.public import PublicWeights
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.reward_models import text_verdict
from vist3a_app.pipelines.evaluate.params import EvaluateParams


@dataclass(frozen=True)
class Judge:
    """What a judge is asked for.

    Attributes:
        scores: Its score by the name ``judge``; none where no term of the reward is its own.
        verdict: Whether frames show a prompt; None where it cannot say.
        distance: Of pairs of pictures, in its own features, or LPIPS where those are not at hand and it is; None: neither is.
    """

    scores: dict[str, WeightedSum]
    verdict: Verdict | None
    distance: Distance | None


def load_judge(
    params: EvaluateParams,
    align: AlignParams,
    has_gaussians: bool,
    device: torch.device,
    public: Mapping[str, PublicWeights],
) -> Judge:
    """The judge of ``evaluate.judge``."""
    judge = load_scorer(params.judge, "evaluate.judge", device, DTYPES[align.reward_dtype], public)
    if not isinstance(judge, FeatureScorer):
        lpips = align.perceptual
        distance = None if lpips is None else load_perceptual(lpips, "align.perceptual", device, public)
        return Judge({"judge": text_verdict(judge, has_gaussians)}, None, distance)
    own = own_terms(align.weights(has_gaussians))
    # Only prompts of its own world say what the judge should find.
    verdict = judge.verdict() if params.prompts_file is None else None
    return Judge({"judge": reward_from(judge, own)} if own else {}, verdict, feature_distance(judge.feature_maps))


def own_terms(weights: Mapping[str, float]) -> dict[str, float]:
    """Of the reward's weights those of terms that a judge can score by itself; other models' terms say the same whoever asks.

    Nor is what a step is to hold a judgement: how far the camera goes, and how films of a prompt differ, are figures apart.

    Example:
        >>> own_terms({"text_decoded": 1.0, "hps_decoded": 0.5, "reprojection": 0.1})
        {'text_decoded': 1.0, 'reprojection': 0.1}
    """
    return {name: weight for name, weight in weights.items() if name in term_names(("text",)) and name not in HELD}
