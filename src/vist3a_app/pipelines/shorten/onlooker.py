"""Loading what few steps are compared with many by."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vist3a.alignment.reward_models import load_scorer
from vist3a.alignment.rewards.consistency import feature_distance
from vist3a.alignment.rewards.text_image import FeatureScorer
from vist3a.records import Condition
from vist3a.records.condition import Embed
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.shorten.comparison import Onlooker
from vist3a_app.pipelines.shorten.params import Comparison


def load_onlooker(
    params: Comparison, networks: Networks, prompts: Sequence[str], embed: Embed, negative: Condition
) -> Onlooker:
    """The original 3D network and the judge; a judge without feature maps measures no diversity."""
    device = resolve_device(networks.device)
    judge = load_scorer(params.judge, "shorten.comparison.judge", device, torch.float32, networks.known.rewards)
    verdict, distance = None, None
    if isinstance(judge, FeatureScorer):
        verdict, distance = judge.verdict(), feature_distance(judge.feature_maps)
    return Onlooker(
        params,
        networks.load_reconstruction(),
        renderer_for(device),
        judge,
        verdict,
        distance,
        prompts,
        embed,
        negative,
    )
