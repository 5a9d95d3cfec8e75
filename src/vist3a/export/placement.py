"""Where a scene stands in the world of another program: axes, handedness, unit, and a level ground."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.ground import find_ground, levelling
from vist3a.geometry.quaternion import quaternion_from_rotation, rotation_from_quaternion
from vist3a.geometry.spherical_harmonics import degree_of_bands, harmonics_rotation
from vist3a.records import Gaussians, Reconstruction

TargetName = Literal["network", "gltf", "blender", "nerfstudio", "unity", "unreal"]
SCALE = re.compile(r"(?:camera height )?(\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True)
class Target:
    """Axes of a program: rows give its x, y and z in those of OpenCV; ``units`` of it are a meter; ``words`` say it in files."""

    axes: tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]
    units: float
    words: str


_Z_UP = ((1, 0, 0), (0, 0, 1), (0, -1, 0))
TARGETS: Mapping[TargetName, Target] = MappingProxyType(
    {
        "network": Target(((1, 0, 0), (0, 1, 0), (0, 0, 1)), 1.0, "x right, y down, z forward, right-handed"),
        "gltf": Target(((1, 0, 0), (0, -1, 0), (0, 0, -1)), 1.0, "x right, y up, z backward, right-handed"),
        "blender": Target(_Z_UP, 1.0, "x right, y forward, z up, right-handed"),
        "nerfstudio": Target(_Z_UP, 1.0, "x right, y forward, z up, right-handed"),
        "unity": Target(((1, 0, 0), (0, -1, 0), (0, 0, 1)), 1.0, "x right, y up, z forward, left-handed"),
        "unreal": Target(((0, 0, 1), (1, 0, 0), (0, -1, 0)), 100.0, "x forward, y right, z up, left-handed"),
    }
)
"""By name. The network's own axes are those of OpenCV, of the first camera or of the view that the network chose."""


@dataclass(frozen=True)
class PlacementSettings:
    """For whom assets are placed.

    Attributes:
        target: Program whose axes and unit files have, where the format does not prescribe them.
        scale: Meters of the network's unit, as ``0.8``, or what gives them, as ``camera height 1.6`` (meters above the
            ground, median over the views); None: unknown, and files keep the network's unit.
        level: Turn and move the scene so that the ground is level, at height 0 under the first camera.
    """

    target: TargetName = "network"
    scale: str | Annotated[float, Gt(0)] | None = None
    level: bool = False

    def __post_init__(self) -> None:
        """ValueError for a scale that cannot be read."""
        found = SCALE.fullmatch(str(self.scale))
        if self.scale is not None and (found is None or float(found[1]) <= 0):
            raise ValueError(f"scale: {self.scale!r}; allowed: meters of a unit, as 0.8, or 'camera height 1.6'")


@dataclass(frozen=True)
class Placement:
    """Points x of a scene become ``factor * turn @ (x - origin)``; ``turn`` mirrors for left-handed axes."""

    turn: Float[Tensor, "3 3"] = field(default_factory=lambda: torch.eye(3))
    factor: float = 1.0
    origin: Float[Tensor, " 3"] = field(default_factory=lambda: torch.zeros(3))
    axes: str = TARGETS["network"].words
    unit: str = "the network's own"

    @property
    def mirrored(self) -> bool:
        """Whether right-handed axes become left-handed."""
        return bool(torch.linalg.det(self.turn) < 0)

    def points(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Points of the scene in the target's world."""
        return (self.factor * (points.double() - self.origin) @ self.turn.double().T).to(points.dtype)

    def gaussians(self, gaussians: Gaussians) -> Gaussians:
        """The same splats in the target's world: means, sizes, rotations and harmonics."""
        turn = self.turn.double().to(gaussians.means.device)
        # A mirror is a rotation and the inversion of all axes, under which a function of degree l keeps its value times (-1)^l.
        rotation = -turn if self.mirrored else turn
        degree = degree_of_bands(gaussians.harmonics.shape[2])
        matrix = harmonics_rotation(rotation, degree)
        if self.mirrored:
            signs = [(-1.0) ** order for order in range(degree + 1) for _ in range(2 * order + 1)]
            matrix = matrix * matrix.new_tensor(signs)
        # An ellipsoid is its own mirror image: the rotation alone turns it.
        turned = rotation @ rotation_from_quaternion(gaussians.rotations.double())
        return replace(
            gaussians,
            means=self.points(gaussians.means),
            scales=self.factor * gaussians.scales,
            rotations=quaternion_from_rotation(turned).to(gaussians.rotations),
            harmonics=(matrix @ gaussians.harmonics.double()).to(gaussians.harmonics),
        )

    @property
    def lines(self) -> list[str]:
        """The statement as lines of a header."""
        return [
            f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in self.statement.items()
        ]

    @property
    def statement(self) -> dict[str, Any]:
        """What files say of themselves."""
        return {"axes": self.axes, "unit": self.unit, "from_scene": {
            "turn": self.turn.tolist(), "factor": self.factor, "origin": self.origin.tolist(),
        }}  # fmt: skip


def place_scene(settings: PlacementSettings, scene: Reconstruction | None) -> Placement:
    """The placement of a scene (the first of its batch; None: Gaussians alone are known).

    Raises:
        ValueError: The scale or ``level`` needs the ground, and there is none.

    Example:
        >>> place_scene(PlacementSettings("unreal", "camera height 1.6", level=True), scene).unit
        'centimeter'
    """
    target, text = TARGETS[settings.target], str(settings.scale)
    by_height = text.startswith("camera")
    turn, origin, factor = torch.tensor(target.axes, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 1.0
    if by_height or settings.level:
        asked = f"scale: {text!r}" if by_height else "level"
        if scene is None:
            raise ValueError(f"{asked}: there are Gaussians alone, no cameras; allowed: the folder of a scene")
        cameras = scene.cameras[0].detach().to("cpu", torch.float64)
        ground = find_ground(scene.points[0].detach().reshape(-1, 3).double().cpu(), cameras)
        if ground is None:
            raise ValueError(f"{asked}: no ground was found below the cameras; allowed: a scale in meters, not level")
        heights = ground.height(cameras.centers)
        if by_height:
            factor = float(text.removeprefix("camera height ")) / float(heights.median())
        if settings.level:
            turn = turn @ levelling(ground.normal)
            origin = cameras.centers[0] - heights[0] * ground.normal
    if settings.scale is None:
        return Placement(turn, 1.0, origin, target.words)
    factor = target.units * (factor if by_height else float(text))
    return Placement(turn, factor, origin, target.words, "centimeter" if target.units == 100 else "meter")
