"""Parameters of the evaluate pipeline (top key ``evaluate``)."""

from __future__ import annotations

from pydantic import Field

from vist3a.pipelines.strict import Strict


class EvaluateParams(Strict):
    """Held-out ``clips`` for geometry; ``prompts`` unseen in alignment for generation, sampled before and after with equal noise.

    ``judge`` is a scorer that nothing was optimised against. ``pictures`` scenes go into the contact sheet.
    """

    seed: int
    judge: str
    prompts_file: str | None = None
    prompts: int = Field(gt=1)
    clips: int = Field(gt=0)
    steps: int = Field(gt=0)
    guidance: float = Field(ge=1)
    frames: int = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    pictures: int = Field(ge=0)
