"""Named terms of a reward, made of what they need; only terms that have a weight are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vist3a import registry
from vist3a.alignment.rewards.base import Kind, Reward
from vist3a.alignment.rewards.consistency import (
    ColorConsistency,
    Distance,
    PerceptualConsistency,
    PhotometricConsistency,
)
from vist3a.alignment.rewards.diversity import Diversity
from vist3a.alignment.rewards.geometry import (
    CameraMotion,
    CameraSmoothness,
    PointmapCameraConsistency,
    ReprojectionConsistency,
)
from vist3a.alignment.rewards.text_image import TextImageReward, TextImageScorer
from vist3a.alignment.rewards.weighted_sum import WeightedSum

GEOMETRY: Mapping[str, Callable[[], Reward]] = {
    "reprojection": ReprojectionConsistency,
    "pointmap_camera": PointmapCameraConsistency,
    "camera_smoothness": CameraSmoothness,
}
L1, PERCEPTUAL, COLOR = "consistency_l1", "consistency_perceptual", "consistency_color"
MOTION, DIVERSITY = "camera_motion", "diversity"
HELD = (MOTION, DIVERSITY)
"""Terms that hold a figure of all rollouts of a step where it is asked to be: they say nothing of one scene."""
KINDS: Mapping[str, Kind] = {"decoded": "decoded", "rendered": "rendered"}


def term_names(scorers: tuple[str, ...]) -> tuple[str, ...]:
    """All terms there are with these text-image scorers: each on decoded and on rendered views, consistency, geometry, and those
    of the registry.
    """
    own = (
        *(f"{name}_{kind}" for name in scorers for kind in KINDS),
        L1,
        PERCEPTUAL,
        COLOR,
        *GEOMETRY,
        MOTION,
        DIVERSITY,
    )
    return tuple(dict.fromkeys((*own, *registry.names("rewards"))))


def is_term(name: str, scorers: tuple[str, ...]) -> bool:
    """Whether there is such a term, or its name is the place of one (``package.module:Class``)."""
    return name in term_names(scorers) or ":" in name


def renders(term: str) -> bool:
    """Whether a term needs Gaussians."""
    if term in registry.names("rewards") or ":" in term:
        return bool({"rendered", "gaussians"} & registered(term).needs)
    return term.endswith("_rendered") or term in (L1, PERCEPTUAL, COLOR)


def registered(name: str) -> Reward:
    """A term of the registry.

    Raises:
        ValueError: There is none of this name, or it is no reward.
    """
    made: object = registry.find("rewards", name, "reward term")()
    if not isinstance(made, Reward):
        raise ValueError(f"reward term {name!r} is a {type(made).__name__}; allowed: {registry.KINDS['rewards']}")
    return made


def weighted_terms(
    weights: Mapping[str, float | None],
    scorers: Mapping[str, TextImageScorer],
    perceptual: Distance | None,
    motion: float | None = None,
    diversity: float | None = None,
    at_once: int | None = None,
) -> WeightedSum:
    """The terms of ``weights`` and their sum (weight None: no such term); ValueError for a name that is none.

    ``motion`` is the path that ``camera_motion`` asks for, in median depths of the scene, ``diversity`` the perceptual distance
    that the term of this name asks for; these terms need them. Of scorers and the perceptual distance a graph holds ``at_once``
    images (None: all).
    """
    terms: dict[str, Reward] = {}
    given = {name: weight for name, weight in weights.items() if weight is not None}
    for name in given:
        # Text-image terms are SCORER_KIND, and names of scorers may have underscores.
        scorer, _, kind = name.rpartition("_")
        if name in GEOMETRY:
            terms[name] = GEOMETRY[name]()
        elif name == MOTION:
            if motion is None:
                raise ValueError(f"align.motion: {MOTION} has a weight, but no path to hold; allowed: a number above 0")
            terms[name] = CameraMotion(motion)
        elif name == DIVERSITY and perceptual is not None:
            if diversity is None:
                raise ValueError(
                    f"align.diversity: {DIVERSITY} has a weight, but no distance to hold; allowed: a number above 0"
                )
            terms[name] = Diversity(perceptual, diversity, at_once)
        elif name == L1:
            terms[name] = PhotometricConsistency()
        elif name == COLOR:
            terms[name] = ColorConsistency()
        elif name == PERCEPTUAL and perceptual is not None:
            terms[name] = PerceptualConsistency(perceptual, at_once)
        elif scorer in scorers and kind in KINDS:
            terms[name] = TextImageReward(scorers[scorer], KINDS[kind], at_once)
        elif name in registry.names("rewards") or ":" in name:
            terms[name] = registered(name)
        else:
            raise ValueError(f"reward term {name!r}; allowed: {', '.join(term_names(tuple(scorers)))}")
    if not terms:
        raise ValueError(f"no reward term has a weight; allowed: {', '.join(term_names(tuple(scorers)))}")
    return WeightedSum(terms, given)
