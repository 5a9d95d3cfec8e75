"""Files of meshes: GLB and PLY with vertex colors, and GLB for collisions. Each says its axes and unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plyfile import PlyData, PlyElement

from vist3a.export.collision import CollisionMesh, collision_mesh
from vist3a.export.formats import Exported
from vist3a.export.glb_file import write_glb
from vist3a.export.gltf import linear_rgba
from vist3a.export.mesh import Mesh, scene_mesh
from vist3a.export.placement import Placement, place_scene
from vist3a.runtime.atomic import replacing

# Colors are as seen, so no light must fall on them.
UNLIT = {"materials": [{"extensions": {"KHR_materials_unlit": {}}}], "extensionsUsed": ["KHR_materials_unlit"]}


def save_mesh_glb(path: Path, mesh: Mesh, placement: Placement) -> None:
    """Write a mesh, placed (in the axes of glTF, which the placement must be for)."""
    attributes = {
        "POSITION": _placed(mesh.vertices, placement),
        "COLOR_0": linear_rgba(torch.from_numpy(mesh.colors), torch.ones(len(mesh.colors))),
    }
    write_glb(path, attributes, {"material": 0}, UNLIT, _wound(mesh.faces, placement), placement.statement)


def save_mesh_ply(path: Path, mesh: Mesh, placement: Placement) -> None:
    """Write a mesh, placed, as binary PLY with 8-bit colors; the header says axes and unit."""
    columns = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.empty(len(mesh.vertices), dtype=columns)
    for i, name in enumerate("xyz"):
        vertices[name] = _placed(mesh.vertices, placement)[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        vertices[name] = (mesh.colors[:, i] * 255).round()
    faces = np.empty(len(mesh.faces), dtype=[("vertex_indices", "<i4", (3,))])
    faces["vertex_indices"] = _wound(mesh.faces, placement)
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
    with replacing(path) as temporary:
        PlyData(elements, byte_order="<", comments=placement.lines).write(str(temporary))


def save_collision_glb(path: Path, mesh: CollisionMesh, placement: Placement) -> None:
    """Write a collision mesh, placed; ``asset.extras.collision`` says whether it is closed and how large its largest hole is."""
    told: Mapping[str, Any] = {
        "closed": mesh.closed,
        "ground": mesh.ground is not None,
        "largest_hole": round(mesh.hole, 4),
        "largest_hole_in_what_was_seen": round(mesh.seen_hole, 4),
        "flagged": mesh.flagged,
    }
    write_glb(
        path,
        {"POSITION": _placed(mesh.vertices, placement)},
        {},
        {},
        _wound(mesh.faces, placement),
        {**placement.statement, "collision": told},
    )


def mesh_glb(folder: Path, exported: Exported) -> Path:
    """Exporter ``mesh``: the colored surface as ``mesh.glb``, in the axes of glTF."""
    save_mesh_glb(folder / "mesh.glb", exported_mesh(exported), _gltf(exported))
    return folder / "mesh.glb"


def mesh_ply(folder: Path, exported: Exported) -> Path:
    """Exporter ``mesh_ply``: the colored surface as ``mesh.ply``, in the axes of ``target``."""
    save_mesh_ply(folder / "mesh.ply", exported_mesh(exported), place_scene(exported.settings, exported.scene))
    return folder / "mesh.ply"


def collision_glb(folder: Path, exported: Exported) -> Path:
    """Exporter ``collision``: ``mesh.collision.glb``, in the axes of glTF."""
    settings = exported.settings
    mesh = collision_mesh(exported.scene, _voxels(exported), settings.collision_faces, settings.drop_points)
    save_collision_glb(folder / "mesh.collision.glb", mesh, _gltf(exported))
    return folder / "mesh.collision.glb"


def exported_mesh(exported: Exported) -> Mesh:
    """The mesh of a scene as the settings of its export want it."""
    return scene_mesh(exported.scene, exported.frames, _voxels(exported), exported.settings.drop_points)


def _voxels(exported: Exported) -> int:
    given = exported.settings.mesh_voxels
    return min(256, 2 * max(exported.frames.shape[-2:])) if given is None else given


def _gltf(exported: Exported) -> Placement:
    """The format prescribes axes and meters; programs turn them into their own."""
    return place_scene(replace(exported.settings, target="gltf"), exported.scene)


def _placed(vertices: np.ndarray, placement: Placement) -> np.ndarray:
    return placement.points(torch.from_numpy(vertices)).numpy()


def _wound(faces: np.ndarray, placement: Placement) -> np.ndarray:
    """A mirror turns the outside in, unless corners run the other way."""
    return faces[:, ::-1] if placement.mirrored else faces
