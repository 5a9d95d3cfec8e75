"""Parameters of the evaluate pipeline (top key ``evaluate``)."""

from __future__ import annotations

from pydantic import Field

from vist3a.sampling.sampling import SamplingConfig
from vist3a_app.pipelines.strict import Place, Strict


class Truth(Strict):
    """``scenes`` of the procedural world of ``seed``, whose depth, cameras and ``extra_views`` more views are known exactly."""

    seed: int
    scenes: int = Field(gt=1)
    extra_views: int = Field(gt=0)


class Diversity(Strict):
    """The first ``prompts`` are sampled from ``noises`` different noises, of which the evaluation's own is one."""

    prompts: int = Field(gt=0)
    noises: int = Field(gt=1)


class EvaluateParams(Strict, SamplingConfig):
    """Held-out ``clips`` for geometry; ``prompts`` unseen in alignment for generation, sampled before and after with equal noise,
    ``batch`` of them at once.

    ``truth`` compares all variants with exact scenes (``null``: networks that know nothing of the procedural world).
    ``judge`` is a scorer that nothing was optimised against: a folder, or an entry under rewards of weights.yml. ``pictures``
    scenes go into the contact sheet. ``metrics`` of the registry are reported beside the scores. ``diversity`` tells how
    much films of one prompt differ (``null``: it is not measured).
    """

    seed: int
    judge: str
    prompts_file: Place | None = None
    world: str = "procedural"
    truth: Truth | None = None
    prompts: int = Field(gt=1)
    batch: int = Field(1, gt=0)
    clips: int = Field(gt=0)
    pictures: int = Field(ge=0)
    diversity: Diversity | None = None
    metrics: tuple[str, ...] = ()
