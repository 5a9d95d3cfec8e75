"""Parameters of the distill pipeline (top key ``distill``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vist3a.distillation.distill import DistillSettings
from vist3a_app.pipelines.strict import Strict


class DistillParams(Strict, DistillSettings):
    """The two rounds of distillation, and what of the decoder is trained and measured.

    ``tuning`` is the whole tail or low-rank adapters. ``gradient_checkpointing`` recomputes blocks in the backward pass: less
    memory, more time. At most ``measured_clips`` held-out clips are measured before and after, ``measured_batch`` at once.
    """

    tuning: Literal["full", "lora"]
    lora_rank: int = Field(64, gt=0)
    lora_alpha: float = Field(32, gt=0)
    gradient_checkpointing: bool = False
    measured_clips: int = Field(gt=0)
    measured_batch: int = Field(1, gt=0)
