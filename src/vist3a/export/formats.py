"""Further files of a scene, written by exporters that are known by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor

from vist3a import registry
from vist3a.export.placement import PlacementSettings
from vist3a.export.viewer import Caption
from vist3a.records import Gaussians, Reconstruction
from vist3a.runtime.bounds import BelowOne


@dataclass(frozen=True)
class AssetSettings(PlacementSettings):
    """What files hold that exporters write.

    Attributes:
        drop_points: Share of the points and depths with the lowest confidence that is left out.
        mesh_voxels: Along the longest side of the volume that meshes are made in (None: two of every pixel of the frames' longer
            side, at most 256).
        collision_faces: Triangles of a collision mesh, about, beside its ground.
    """

    drop_points: BelowOne = 0.1
    mesh_voxels: Annotated[int, Ge(16), Le(512)] | None = None
    collision_faces: Annotated[int, Ge(64)] = 4000


@dataclass(frozen=True)
class Exported:
    """What there is to write: one scene, its frames in [0, 1], and its Gaussians as files hold them (None: it has none)."""

    caption: Caption
    frames: Float[Tensor, "1 views 3 height width"]
    scene: Reconstruction
    gaussians: Gaussians | None
    settings: AssetSettings = AssetSettings()


@runtime_checkable
class Exporter(Protocol):
    """Writes one file or folder of a scene."""

    def __call__(self, folder: Path, exported: Exported) -> Path:
        """Write into the scene's ``folder``, and say what was written; whole or not at all (``runtime.atomic.replacing``)."""
        ...


def check_formats(names: Sequence[str], where: str) -> None:
    """ValueError for a name that no exporter has; before anything is made that is to be written."""
    for name in names:
        if not callable(registry.find("exporters", name, where)):
            raise ValueError(f"{where}: {name} cannot be called; allowed: {registry.KINDS['exporters']}")


def write_formats(names: Sequence[str], folder: Path, exported: Exported, where: str) -> dict[str, Path]:
    """Paths of what the named exporters wrote, by their names.

    Raises:
        ValueError: What an exporter names is not there, or outside of the scene's folder.
    """
    paths = {}
    for name in names:
        exporter: Exporter = registry.find("exporters", name, where)
        path = exporter(folder, exported)
        if not path.exists() or not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{where}: {name} wrote {path}; allowed: what is there, in {folder}")
        paths[name] = path
    return paths
