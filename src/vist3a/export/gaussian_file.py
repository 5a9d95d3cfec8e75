"""Exporters of the Gaussians alone, for file formats that hold nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vist3a.export.compressed_ply import save_compressed_ply
from vist3a.export.formats import Exported
from vist3a.export.gltf import save_gaussians_glb
from vist3a.export.placement import PlacementSettings, place_scene
from vist3a.export.ply import save_gaussians
from vist3a.export.sog import save_sog
from vist3a.export.spz import save_spz
from vist3a.records import Gaussians, Reconstruction


@dataclass(frozen=True)
class GaussianFile:
    """One file of one set of Gaussians; also written of a PLY file that belongs to no scene.

    Args:
        name: Of the file in a scene's folder.
        write: Writes a batch of one to a path, whole or not at all.
        own_axes: The format prescribes axes, and ``write`` gives it those from the network's: of a placement only unit and ground
            count.
        told: ``write`` also takes lines that say what axes and unit are.

    Example:
        >>> SPLAT = GaussianFile("gaussians.splat", save_splat)  # an exporter, to be declared as an entry point
    """

    name: str
    write: Callable[..., None]
    own_axes: bool = False
    told: bool = False

    def __call__(self, folder: Path, exported: Exported) -> Path:
        """Write into the scene's folder; ValueError for a scene without Gaussians."""
        if exported.gaussians is None:
            raise ValueError(
                f"{folder} holds no Gaussians for {self.name}; allowed: a scene of a network that makes them"
            )
        self.save(folder / self.name, exported.gaussians, exported.settings, exported.scene)
        return folder / self.name

    def save(
        self, path: Path, gaussians: Gaussians, settings: PlacementSettings, scene: Reconstruction | None = None
    ) -> None:
        """Write to a path, placed as ``settings`` say; ``scene`` is asked for the ground."""
        placement = place_scene(replace(settings, target="network") if self.own_axes else settings, scene)
        # Nothing is computed where nothing is asked for: the file holds the very numbers.
        asked = (
            placement.factor != 1 or not torch.equal(placement.turn, torch.eye(3).double()) or placement.origin.any()
        )
        placed = placement.gaussians(gaussians) if asked else gaussians
        self.write(path, placed, *([placement.lines] if self.told else []))


PLY = GaussianFile("gaussians.ply", save_gaussians, told=True)
COMPRESSED_PLY = GaussianFile("gaussians.compressed.ply", save_compressed_ply, told=True)
SOG = GaussianFile("gaussians.sog", save_sog, told=True)
SPZ = GaussianFile("gaussians.spz", save_spz, own_axes=True)
GLB = GaussianFile("gaussians.glb", save_gaussians_glb, own_axes=True)
