"""Parameters of the align pipeline (top key ``align``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vist3a.pipelines.loop import Loop
from vist3a.pipelines.strict import Strict


class RewardWeights(Strict):
    """Weights of the reward terms (VIST3A B.2): text-image score on decoded and on rendered views, and their consistency."""

    text_decoded: float
    text_rendered: float
    consistency_l1: float
    consistency_perceptual: float


class AlignParams(Strict):
    """``prompts_file`` (one prompt per line) replaces the procedural prompts; ``gradient_steps`` is K of DRTune.

    ``gradient_checkpointing`` recomputes blocks of both networks in the backward pass: less memory, more time.
    """

    seed: int
    prompts_file: str | None = None
    prompts: int = Field(gt=0)
    reward_scorer: str
    rewards: RewardWeights
    prompts_per_step: int = Field(gt=0)
    clips_per_step: int = Field(gt=0)
    denoising_steps: int = Field(gt=0)
    gradient_steps: int = Field(gt=0)
    guidance: float = Field(ge=1)
    flow_shift: float | None = Field(None, gt=0)
    scored_views: int = Field(gt=0)
    generative_weight: float = Field(ge=0)
    frames: int = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    gradient_checkpointing: bool = False
    lora_rank: int = Field(gt=0)
    lora_alpha: float = Field(gt=0)
    lora_targets: tuple[Literal["to_q", "to_k", "to_v", "to_out.0"], ...]
    loop: Loop
