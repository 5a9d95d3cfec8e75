"""Parameters of the score pipeline (top key ``score``)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vist3a_app.pipelines.strict import Strict


class ScoreParams(Strict):
    """``ridges`` are relative to the mean diagonal of the gram matrix; ``point`` overrides the choice; the functional error is
    measured for the best ``functional_points`` on ``functional_clips`` held-out clips.

    ``latent_noise``: the layers are fitted for latents with noise of this share of their root mean square.
    ``clips``: at most so many held-out clips are seen (null: all). ``seed`` draws the bootstrap; ``batch`` clips go through the
    networks together.
    """

    seed: int
    ridges: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]
    bias: Literal["channel", "position"]
    latent_noise: float = Field(0.0, ge=0)
    point: str | None = None
    clips: int | None = Field(None, gt=0)
    batch: int = Field(gt=0)
    functional_points: int = Field(3, ge=0)
    functional_clips: int = Field(4, ge=0)
