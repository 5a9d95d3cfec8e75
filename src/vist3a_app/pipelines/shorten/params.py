"""Parameters of the shorten pipeline (top key ``shorten``)."""

from __future__ import annotations

from pydantic import Field

from vist3a.shortening.shorten_settings import ShortenSettings
from vist3a_app.pipelines.strict import Place, Strict


class Comparison(Strict):
    """Few steps against many: ``prompts`` of ``seed`` that nothing was shortened on, ``batch`` at once.

    ``steps`` are those of the original generator. ``judge`` is a scorer: a folder, or an entry under rewards of weights.yml. Of
    the first ``diversity_prompts`` films from ``noises`` different noises are compared (0: not measured).
    """

    seed: int
    judge: str
    prompts: int = Field(gt=1)
    batch: int = Field(1, gt=0)
    steps: int = Field(25, gt=0)
    diversity_prompts: int = Field(0, ge=0)
    noises: int = Field(2, gt=1)


class ShortenParams(Strict, ShortenSettings):
    """The settings of shortening, its prompts, its adapter, and how it is measured.

    ``prompts_file`` (one prompt per line; the first are those of the comparison) replaces the prompts of the generated ``world``.
    ``lora_targets`` are the ends of the names of the layers that get an adapter. ``gradient_checkpointing`` recomputes the
    denoiser's blocks in the backward pass: less memory, more time; ``compile``: they are compiled at their first use.
    ``comparison``: null for none.
    """

    prompts_file: Place | None = None
    world: str = "procedural"
    prompts: int = Field(gt=0)
    lora_rank: int = Field(gt=0)
    lora_alpha: float = Field(gt=0)
    lora_targets: tuple[str, ...]
    gradient_checkpointing: bool = False
    compile: bool = False
    comparison: Comparison | None = None
