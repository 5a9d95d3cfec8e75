"""Exporters of the Gaussians alone, for file formats that hold nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vist3a.export.formats import Exported
from vist3a.export.gltf import save_gaussians_glb
from vist3a.export.ply import save_gaussians
from vist3a.export.spz import save_spz
from vist3a.records import Gaussians


@dataclass(frozen=True)
class GaussianFile:
    """One file of one set of Gaussians; also written of a PLY file that belongs to no scene.

    Args:
        name: Of the file in a scene's folder.
        write: Writes a batch of one to a path, whole or not at all.

    Example:
        >>> SPLAT = GaussianFile("gaussians.splat", save_splat)  # an exporter, to be declared as an entry point
    """

    name: str
    write: Callable[[Path, Gaussians], None]

    def __call__(self, folder: Path, exported: Exported) -> Path:
        """Write into the scene's folder; ValueError for a scene without Gaussians."""
        if exported.gaussians is None:
            raise ValueError(
                f"{folder} holds no Gaussians for {self.name}; allowed: a scene of a network that makes them"
            )
        self.write(folder / self.name, exported.gaussians)
        return folder / self.name


PLY = GaussianFile("gaussians.ply", save_gaussians)
SPZ = GaussianFile("gaussians.spz", save_spz)
GLB = GaussianFile("gaussians.glb", save_gaussians_glb)
