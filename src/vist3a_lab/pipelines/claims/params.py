"""Parameters of the claims pipeline (top key ``claims``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vist3a_app.pipelines.strict import Strict


class ClaimsParams(Strict):
    """Every seed of ``seeds`` distils and aligns anew and is judged on scenes and prompts of its own.

    Held-out scenes, prompts and their noise are those of the procedural world of ``heldout_seed`` + seed; the training is that of
    ``distill`` and ``align`` with these numbers of steps. ``pixel_step`` thins the pixels that surfaces are compared on.
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    heldout_seed: int
    scenes: int = Field(gt=1)
    noise_scenes: int = Field(gt=1)
    noise_levels: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2)]
    prompts: int = Field(gt=1)
    frames: int = Field(ge=5)
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    pixel_step: int = Field(gt=0)
    distillation_steps: int = Field(gt=0)
    alignment_steps: int = Field(gt=0)
