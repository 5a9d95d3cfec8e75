"""The reward of the embedded world: one dual encoder as text-image scorer and as perceptual feature extractor."""

from __future__ import annotations

from collections.abc import Mapping

from vist3a.alignment.rewards.consistency import feature_distance
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a_lab.scorers import DualEncoder


def reward_from(scorer: DualEncoder, weights: Mapping[str, float | None]) -> WeightedSum:
    """Text-image scores, photometric and perceptual consistency, geometry: the terms that have a weight."""
    return weighted_terms(weights, {"text": scorer}, feature_distance(scorer.image.features))
