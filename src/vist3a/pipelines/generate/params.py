"""Parameters of the generate pipeline (top key ``generate``)."""

from __future__ import annotations

from pydantic import Field

from vist3a.pipelines.strict import Strict


class GenerateParams(Strict):
    """``prompt`` (or every line of ``prompts_file``) becomes a scene. ``aligned`` uses the generator after alignment."""

    prompt: str | None
    prompts_file: str | None = None
    seed: int
    steps: int = Field(gt=0)
    guidance: float = Field(ge=1)
    frames: int = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    aligned: bool
    turntable_frames: int = Field(gt=1)
    turntable_size: int = Field(gt=15)
