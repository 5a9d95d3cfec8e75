"""Parameters of the rehearse pipeline (top key ``rehearse``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vist3a_app.pipelines.strict import Strict

Stage = Literal["embed", "extract", "score", "distill", "align", "generate"]


class RehearseParams(Strict):
    """``stages`` to run, each needs the results of those before it; ``steps`` of denoising are enough to see time and memory."""

    stages: tuple[Stage, ...]
    steps: int = Field(gt=0)
