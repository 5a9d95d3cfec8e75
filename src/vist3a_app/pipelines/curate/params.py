"""Parameters of the curate pipeline (top key ``curate``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vist3a_app.pipelines.strict import Strict


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


class Checks(Strict):
    """Limits for real clips (see ``scenes.checks.Limits`` and ``scenes.frame_statistics``)."""

    min_brightness: float = Field(ge=0, le=1)
    max_brightness: float = Field(ge=0, le=1)
    min_contrast: float = Field(ge=0, le=1)
    min_sharpness: float = Field(ge=0)
    min_relative_sharpness: float = Field(ge=0, le=1)
    min_difference: float = Field(ge=0, le=1)
    cut_colour_change: float = Field(ge=0, le=1)
    cut_likeness: float = Field(ge=-1, le=1)
    min_motion: float = Field(ge=0, le=1)
    max_stride: float = Field(ge=1)


class CurateParams(Strict):
    """``source`` is the name of a generated world (``procedural``) or a folder of videos and image folders.

    ``seed`` decides the splits. ``order``: images of a folder come in the order of their names (``given``), or in none, and are
    put into a smooth sequence by their pictures (``similarity``). Videos and scenes of data sets have an order of their own.
    ``frames`` is a number that the generator of the pairing takes; clips that are shorter get the largest such number.
    """

    source: str = Field(min_length=1)
    order: Literal["given", "similarity"] = "given"
    frames: int = Field(ge=5)
    height: int = Field(ge=16)
    width: int = Field(ge=16)
    seed: int
    procedural: Procedural
    splits: Splits
    checks: Checks
