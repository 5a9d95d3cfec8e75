"""Parameters of the curate pipeline (top key ``curate``)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from vist3a.data.checks import Limits
from vist3a.data.sampling import MIN_VIEWS
from vist3a.records.clip_shape import ClipShape
from vist3a_app.pipelines.strict import Strict

MIN_SIDE = 16
"""Rows and columns of the smallest frames that are allowed."""


class Procedural(Strict):
    """Scenes 0 .. ``scenes`` - 1 of a generated world with this seed, rendered on ``device``."""

    scenes: int = Field(ge=3)
    seed: int
    device: str = "cpu"


class Splits(Strict):
    """Shares of the clips; each split gets one clip at least."""

    fit: float = Field(gt=0, lt=1)
    selection: float = Field(gt=0, lt=1)
    heldout: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _whole(self) -> Splits:
        total = self.fit + self.selection + self.heldout
        if abs(total - 1) > 1e-6:
            raise ValueError(f"curate.splits add up to {total:g}; fit + selection + heldout must be 1")
        return self


class CurateParams(Strict, ClipShape):
    """``source`` is the name of a generated world (``procedural``) or a folder of videos and image folders.

    ``seed`` decides the splits. ``order``: images of a folder come in the order of their names (``given``), or in none, and are
    put into a smooth sequence by their pictures (``similarity``). Videos and scenes of data sets have an order of their own.
    ``frames`` is a number that the generator of the pairing takes; clips that are shorter get the largest such number.
    """

    source: str = Field(min_length=1)
    order: Literal["given", "similarity"] = "given"
    seed: int
    procedural: Procedural
    splits: Splits
    checks: Limits

    # One frame of one pixel is a shape, too, but no clip.
    @field_validator("frames", "height", "width")
    @classmethod
    def _are_enough(cls, value: int, info: Any) -> int:
        fewest = MIN_VIEWS if info.field_name == "frames" else MIN_SIDE
        if value < fewest:
            raise ValueError(f"curate.{info.field_name}: {value}; allowed: {fewest} or more")
        return value
