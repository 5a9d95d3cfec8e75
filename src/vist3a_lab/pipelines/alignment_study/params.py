"""Parameters of the alignment study pipeline (top key ``alignment_study``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vist3a_app.pipelines.strict import Place, Strict


class AlignmentStudyParams(Strict):
    """Every seed of ``seeds`` trains every variant for ``steps`` steps and judges it on ``prompts`` prompts of its own.

    Held-out prompts and their noise are those of ``heldout_seed`` + seed, the same for all variants of a seed. Training and
    sampling take ``denoising_steps``, and of a range of guidance its middle; everything else of both is that of ``align``.
    ``judge`` is a scorer that nothing is optimised against.
    ``camera_motion`` is the weight of that term in ``full_motion`` (null: that of ``align.rewards``). ``diversity_noises`` videos
    each of the first ``diversity_prompts`` prompts tell how much the videos of a prompt differ. ``batch`` prompts or videos go
    through the networks at once. ``beside`` is the folder of a further generator in the picture of the frontier (null: none).
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    heldout_seed: int
    prompts: int = Field(gt=1)
    steps: int = Field(gt=0)
    denoising_steps: int = Field(gt=0)
    camera_motion: float | None = Field(ge=0)
    diversity_prompts: int = Field(gt=1)
    diversity_noises: int = Field(gt=1)
    batch: int = Field(gt=0)
    judge: str
    beside: Place | None = None
