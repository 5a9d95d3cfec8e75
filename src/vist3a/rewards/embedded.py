"""The reward of the embedded world: one dual encoder as text-image scorer and as perceptual feature extractor."""

from __future__ import annotations

from collections.abc import Mapping

from vist3a.models.scorers import DualEncoder
from vist3a.rewards.consistency import feature_distance
from vist3a.rewards.terms import weighted_terms
from vist3a.rewards.weighted_sum import WeightedSum


def reward_from(scorer: DualEncoder, weights: Mapping[str, float | None]) -> WeightedSum:
    """Text-image scores, photometric and perceptual consistency, geometry: the terms that have a weight."""
    return weighted_terms(weights, {"text": scorer}, feature_distance(scorer.image.features))
