"""Further files of a scene, written by exporters that are known by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vist3a import registry
from vist3a.export.viewer import Caption
from vist3a.records import Gaussians, Reconstruction


@dataclass(frozen=True)
class Exported:
    """What there is to write: one scene, its frames in [0, 1], and its Gaussians as files hold them (None: it has none)."""

    caption: Caption
    frames: Float[Tensor, "1 views 3 height width"]
    scene: Reconstruction
    gaussians: Gaussians | None


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
