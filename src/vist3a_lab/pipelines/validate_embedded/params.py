"""Parameters of the validate_embedded pipeline (top key ``validate_embedded``)."""

from __future__ import annotations

from pydantic import Field

from vist3a_app.pipelines.strict import Strict


class ValidateEmbeddedParams(Strict):
    """``scenes`` for geometry, ``prompts`` per text task, ``retrieval_groups`` of 64 scenes for the scorers."""

    seed: int
    scenes: int = Field(gt=0)
    extra_views: int = Field(gt=0)
    prompts: int = Field(gt=0)
    steps: int = Field(gt=0)
    guidance: float = Field(ge=1)
    batch: int = Field(gt=0)
    retrieval_groups: int = Field(gt=0)
    pictures: int = Field(gt=0)
