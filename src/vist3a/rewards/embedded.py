"""The reward of the embedded world: one dual encoder as text-image scorer and as perceptual feature extractor."""

from __future__ import annotations

from collections.abc import Mapping

from vist3a.models.scorers import DualEncoder
from vist3a.rewards.consistency import PerceptualConsistency, PhotometricConsistency
from vist3a.rewards.text_image import TextImageReward
from vist3a.rewards.weighted_sum import WeightedSum


def reward_from(scorer: DualEncoder, weights: Mapping[str, float]) -> WeightedSum:
    """Text-image score on decoded and on rendered views, photometric and perceptual consistency between them."""
    return WeightedSum(
        {
            "text_decoded": TextImageReward(scorer, "decoded"),
            "text_rendered": TextImageReward(scorer, "rendered"),
            "consistency_l1": PhotometricConsistency(),
            "consistency_perceptual": PerceptualConsistency(scorer.image.features),
        },
        weights,
    )
