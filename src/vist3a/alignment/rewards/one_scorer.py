"""The reward of one scorer that also has feature maps: as text-image scorer and as perceptual distance."""

from __future__ import annotations

from collections.abc import Mapping

from vist3a.alignment.rewards.consistency import feature_distance
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.alignment.rewards.text_image import FeatureScorer
from vist3a.alignment.rewards.weighted_sum import WeightedSum


def reward_from(scorer: FeatureScorer, weights: Mapping[str, float | None]) -> WeightedSum:
    """Text-image scores, photometric and perceptual consistency, geometry: the terms that have a weight."""
    return weighted_terms(weights, {"text": scorer}, feature_distance(scorer.feature_maps))
