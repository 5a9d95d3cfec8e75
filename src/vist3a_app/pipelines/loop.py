"""Parameters of a training loop, shared by all pipelines that train."""

from __future__ import annotations

from pydantic import Field

from vist3a.runtime.schedule import Schedule
from vist3a_app.pipelines.strict import Strict


class Loop(Strict):
    """Optimisation of one network (see ``training.loop.LoopConfig``)."""

    steps: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    matrix_learning_rate: float | None = Field(None, gt=0)
    schedule: Schedule = "cosine"
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    gradient_clip: float = Field(1.0, gt=0)
    ema: float | None = Field(0.999, gt=0, lt=1)
    log_every: int = Field(50, gt=0)
    checkpoint_every: int = Field(2000, gt=0)
