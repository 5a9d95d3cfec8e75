"""Parameters of the claims pipeline (top key ``claims``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from vist3a.records.clip_shape import ClipShape
from vist3a_app.pipelines.strict import Strict


class ClaimsParams(Strict, ClipShape):
    """Every seed of ``seeds`` distils and aligns anew and is judged on scenes and prompts of its own.

    Held-out scenes, prompts and their noise are those of the procedural world of ``heldout_seed`` + seed; the training is that of
    ``distill`` and ``align`` with these numbers of steps (null: theirs). ``noise_shares`` are levels of noise on the latents, as
    shares of their root mean square. Of each world that the 3D network was not trained on ``shifted_scenes`` are compared;
    ``distilled_there``: also with a decoder distilled on unlabeled clips of these worlds, one more training a seed.
    ``pixel_step`` thins the pixels that surfaces are compared on.
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    heldout_seed: int
    scenes: int = Field(gt=1)
    noise_scenes: int = Field(gt=1)
    noise_shares: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2)]
    shifted_scenes: int = Field(gt=1)
    distilled_there: bool
    prompts: int = Field(gt=1)
    pixel_step: int = Field(gt=0)
    distillation_steps: int | None = Field(gt=0)
    alignment_steps: int | None = Field(gt=0)

    @field_validator("frames")
    @classmethod
    def _have_an_order(cls, value: int) -> int:
        if value < 5:
            raise ValueError(f"{value}; allowed: 5 or more, as the orders of fewer views say nothing")
        return value
