"""Parameters of the layer study pipeline (top key ``layer_study``)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

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
    """

    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    scenes: Scenes
    points: Annotated[tuple[str, ...], Field(min_length=2)]
    distillation: DistillParams
