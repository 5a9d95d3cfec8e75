"""Parameters of a batch of procedural scenes, and the structured description of one scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a_lab.procedural.attributes import BACKGROUNDS, COLOURS, FINISHES, GROUNDS, PAIRS, RELATIONS, SHAPES, SIZES

Record = TypeVar("Record")


@dataclass(frozen=True)
class ObjectDescription:
    """One object in words; ``position`` is its foot point (x, y) on the ground in world units."""

    shape: str
    colour: str
    size: str
    finish: str
    position: tuple[float, float]


@dataclass(frozen=True)
class Relation:
    """``subject`` is left / right / front / behind of ``reference`` in the first camera (places among the objects)."""

    subject: int
    kind: str
    reference: int


@dataclass(frozen=True)
class SceneDescription:
    """One scene in words. Objects run from left to right in the first frame."""

    seed: int
    index: int
    objects: tuple[ObjectDescription, ...]
    ground: str
    background: str
    relations: tuple[Relation, ...]


@dataclass(frozen=True)
class SceneLabels:
    """Integer ids for classifiers; objects run from left to right in the first frame, absent objects are -1."""

    num_objects: Int[Tensor, " batch"]
    shapes: Int[Tensor, "batch objects"]
    colours: Int[Tensor, "batch objects"]
    sizes: Int[Tensor, "batch objects"]
    finishes: Int[Tensor, "batch objects"]
    ground: Int[Tensor, " batch"]
    background: Int[Tensor, " batch"]
    relations: Int[Tensor, "batch pairs"]
    """Relation of the first to the second object of the pairs (0, 1), (0, 2), (1, 2); -1 where there is none."""


@dataclass(frozen=True)
class Solids:
    """Objects on z = 0 up to their height: boxes, or bodies of revolution rho^2 = constant + linear z + square z^2."""

    center_x: Float[Tensor, "batch objects"]
    center_y: Float[Tensor, "batch objects"]
    cos_yaw: Float[Tensor, "batch objects"]
    sin_yaw: Float[Tensor, "batch objects"]
    present: Float[Tensor, "batch objects"]
    is_box: Float[Tensor, "batch objects"]
    radius: Float[Tensor, "batch objects"]
    height: Float[Tensor, "batch objects"]
    constant: Float[Tensor, "batch objects"]
    linear: Float[Tensor, "batch objects"]
    square: Float[Tensor, "batch objects"]


@dataclass(frozen=True)
class Surfaces:
    """Colour and finish of the objects; the finishes are weights 0 or 1."""

    albedo: Float[Tensor, "batch objects 3"]
    striped: Float[Tensor, "batch objects"]
    checkered: Float[Tensor, "batch objects"]
    shiny: Float[Tensor, "batch objects"]


@dataclass(frozen=True)
class Surroundings:
    """Ground, dome or room, and light. ``ground_pattern`` has the columns of ``attributes.GROUND_FIELDS``."""

    ground_colour: Float[Tensor, "batch 3"]
    ground_pattern: Float[Tensor, "batch 11"]
    ground_frame: Float[Tensor, "batch 4"]
    """Cosine and sine of the pattern's yaw, then its offset."""
    phases: Float[Tensor, "batch 8"]
    horizon: Float[Tensor, "batch 3"]
    zenith: Float[Tensor, "batch 3"]
    sky: Float[Tensor, "batch 3"]
    """Amount of cloud, amount of glow around the sun, 1 for rooms."""
    sun_direction: Float[Tensor, "batch 3"]
    sun_colour: Float[Tensor, "batch 3"]
    ambient_colour: Float[Tensor, "batch 3"]


@dataclass(frozen=True)
class CameraPath:
    """Smooth path on [0, 1], always in float64. Angles in radians, lengths in world units.

    ``held_out`` holds, per extra view, the path parameter and the offsets of azimuth, elevation and radius (a factor).
    """

    azimuth: Float[Tensor, " batch"]
    elevation: Float[Tensor, " batch"]
    radius: Float[Tensor, " batch"]
    target_height: Float[Tensor, " batch"]
    fov: Float[Tensor, " batch"]
    sweep: Float[Tensor, " batch"]
    lift: Float[Tensor, " batch"]
    dolly_start: Float[Tensor, " batch"]
    dolly_end: Float[Tensor, " batch"]
    truck: Float[Tensor, " batch"]
    held_out: Float[Tensor, "batch extra 4"]


def map_tensors(record: Record, function: Callable[[Tensor], Tensor]) -> Record:
    """Apply a function to every tensor of a (nested) dataclass."""
    changes: dict[str, Any] = {}
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if isinstance(value, Tensor):
            changes[field.name] = function(value)
        elif hasattr(value, "__dataclass_fields__"):
            changes[field.name] = map_tensors(value, function)
    return replace(record, **changes)  # type: ignore[type-var]


@dataclass(frozen=True)
class SceneBatch:
    """Parameters of a batch of scenes; everything that the renderer, the captions and a judge need."""

    seed: int
    indices: Int[Tensor, " batch"]
    labels: SceneLabels
    solids: Solids
    surfaces: Surfaces
    surroundings: Surroundings
    path: CameraPath

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: slice | Tensor) -> SceneBatch:
        """Some of the scenes (the batch axis stays)."""
        return map_tensors(self, lambda tensor: tensor[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> SceneBatch:
        """Move to a device; ``dtype`` changes the floating-point parameters except the camera path (float64)."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

        path = map_tensors(self.path, lambda tensor: tensor.to(device=device))
        return replace(map_tensors(self, move), path=path)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the renderer's arithmetic."""
        return self.solids.radius.dtype

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.solids.radius.device

    def descriptions(self) -> list[SceneDescription]:
        """Structured descriptions, one per scene."""
        labels = self.labels
        # Whole columns to the host: scene by scene every number would wait for the device.
        columns = (
            self.indices, labels.num_objects, labels.shapes, labels.colours, labels.sizes, labels.finishes,
            labels.ground, labels.background, labels.relations, self.solids.center_x, self.solids.center_y,
        )  # fmt: skip
        return [self._description(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _description(
        self,
        index: int,
        count: int,
        shapes: list[int],
        colours: list[int],
        sizes: list[int],
        finishes: list[int],
        ground: int,
        background: int,
        relations: list[int],
        x: list[float],
        y: list[float],
    ) -> SceneDescription:
        objects = tuple(
            ObjectDescription(
                SHAPES[shapes[k]], COLOURS[colours[k]], SIZES[sizes[k]], FINISHES[finishes[k]], (x[k], y[k])
            )
            for k in range(count)
        )
        related = tuple(
            Relation(first, RELATIONS[kind], second)
            for (first, second), kind in zip(PAIRS, relations, strict=True)
            if kind >= 0
        )
        return SceneDescription(self.seed, index, objects, GROUNDS[ground], BACKGROUNDS[background], related)
