"""Parameters of the validate_embedded pipeline (top key ``validate_embedded``)."""

from __future__ import annotations

from pydantic import Field

from vist3a.sampling.sampling import DenoisingConfig
from vist3a_app.pipelines.strict import Strict


class ValidateEmbeddedParams(Strict, DenoisingConfig):
    """``scenes`` for geometry, ``prompts`` per text task, ``retrieval_groups`` of 64 scenes for the scorers."""

    seed: int
    scenes: int = Field(gt=0)
    extra_views: int = Field(gt=0)
    prompts: int = Field(gt=0)
    batch: int = Field(gt=0)
    retrieval_groups: int = Field(gt=0)
    pictures: int = Field(gt=0)
