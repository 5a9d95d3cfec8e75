"""Named terms of a reward, made of what they need; only terms that have a weight are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vist3a.rewards.base import Reward
from vist3a.rewards.consistency import Distance, PerceptualConsistency, PhotometricConsistency
from vist3a.rewards.geometry import CameraSmoothness, PointmapCameraConsistency, ReprojectionConsistency
from vist3a.rewards.text_image import TextImageReward, TextImageScorer
from vist3a.rewards.weighted_sum import WeightedSum

GEOMETRY: Mapping[str, Callable[[], Reward]] = {
    "reprojection": ReprojectionConsistency,
    "pointmap_camera": PointmapCameraConsistency,
    "camera_smoothness": CameraSmoothness,
}
L1, PERCEPTUAL = "consistency_l1", "consistency_perceptual"
DECODED, RENDERED = "_decoded", "_rendered"


def term_names(scorers: tuple[str, ...]) -> tuple[str, ...]:
    """All terms there are with these text-image scorers: each on decoded and on rendered views, consistency, geometry."""
    return (*(name + kind for name in scorers for kind in (DECODED, RENDERED)), L1, PERCEPTUAL, *GEOMETRY)


def renders(term: str) -> bool:
    """Whether a term needs Gaussians."""
    return term.endswith(RENDERED) or term in (L1, PERCEPTUAL)


def weighted_terms(
    weights: Mapping[str, float], scorers: Mapping[str, TextImageScorer], perceptual: Distance | None
) -> WeightedSum:
    """The terms of ``weights`` and their sum; ValueError for a name that is none."""
    terms: dict[str, Reward] = {}
    for name in weights:
        scorer, _, kind = name.rpartition("_")
        if name in GEOMETRY:
            terms[name] = GEOMETRY[name]()
        elif name == L1:
            terms[name] = PhotometricConsistency()
        elif name == PERCEPTUAL and perceptual is not None:
            terms[name] = PerceptualConsistency(perceptual)
        elif scorer in scorers and (kind == "decoded" or kind == "rendered"):
            terms[name] = TextImageReward(scorers[scorer], kind)
        else:
            raise ValueError(f"reward term {name!r}; allowed: {', '.join(term_names(tuple(scorers)))}")
    return WeightedSum(terms, weights)
