"""Prompts of the procedural world that an alignment was not trained on."""

from __future__ import annotations

from vist3a.data.world import unseen_prompts
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.phrasing import prompts_of
from vist3a_lab.world import ProceduralWorld


def heldout_prompts(align: AlignParams, seed: int, heldout_seed: int, count: int) -> list[str]:
    """The first ``count`` prompts of ``heldout_seed`` that the alignment of ``seed`` does not see, be these from a file or drawn.

    Raises:
        ValueError: There are not so many, or the file cannot be read.
    """
    trained_on = prompts_of(align.model_copy(update={"seed": seed}))
    return unseen_prompts(ProceduralWorld(), heldout_seed, count, trained_on)
