"""Parameters of the layer study pipeline (top key ``layer_study``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from vist3a.records.clip_shape import ClipShape
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.strict import Strict


class Scenes(Strict):
    """Scenes per split."""

    fit: int = Field(gt=0)
    selection: int = Field(gt=0)
    heldout: int = Field(gt=0)


class LayerStudyParams(Strict, ClipShape):
    """A search per seed of ``seeds``, each on scenes of its own; ``points`` are distilled and compared by their outputs on
    ``distillation.measured_clips`` held-out clips.

    What is tapped and how it is fitted are the parameters of ``extract`` and ``score``; ``distillation`` has its own.
    ``noise_shares``, of which the first is 0, are levels of noise on the latents, as shares of their root mean square: layers are
    fitted for each.
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    scenes: Scenes
    points: Annotated[tuple[str, ...], Field(min_length=2)]
    noise_shares: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2)]
    distillation: DistillParams

    @field_validator("noise_shares")
    @classmethod
    def _begin_clean(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value[0] != 0:
            raise ValueError(f"{value[0]:g} comes first; allowed: 0, against which the others are held")
        return value
