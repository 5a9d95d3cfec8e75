"""OpenUSD: a scene as one USDZ package with its splats (or points) and its mesh.

Axes are right-handed: y up, or z up for targets that have it so. Splats are of the schema ``ParticleField3DGaussianSplat``; where
the installed OpenUSD does not know it, the package holds points in the color of the constant band instead.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vist3a.export.formats import Exported
from vist3a.export.mesh import Mesh
from vist3a.export.mesh_file import exported_mesh
from vist3a.export.placement import TARGETS, Placement, place_scene
from vist3a.export.ply import check_writable
from vist3a.geometry.spherical_harmonics import BAND_ZERO, degree_of_bands
from vist3a.records import Gaussians
from vist3a.runtime.atomic import replacing

SCHEMA = "ParticleField3DGaussianSplat"
MAX_DEGREE = 3
NEEDS = "USD needs usd-core, which is not installed here; allowed: pip install 'vist3a[usd]'"
ROOT = "/Scene"


def usd_package(folder: Path, exported: Exported) -> Path:
    """Exporter ``usd``: ``scene.usdz``.

    Raises:
        ModuleNotFoundError: The extra ``usd`` is not installed.
    """
    upright = TARGETS[exported.settings.target].axes[2] == (0, -1, 0)
    placement = place_scene(replace(exported.settings, target="blender" if upright else "gltf"), exported.scene)
    save_usdz(folder / "scene.usdz", exported.gaussians, exported_mesh(exported), placement, "Z" if upright else "Y")
    return folder / "scene.usdz"


def save_usdz(path: Path, gaussians: Gaussians | None, mesh: Mesh, placement: Placement, up: str) -> None:
    """Write a batch of one (None: the mesh alone) and a mesh, placed; ``up`` is the upward axis of the placement, Y or Z."""
    try:
        from pxr import Kind, Sdf, Usd, UsdGeom, UsdUtils
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS) from error
    # Beside the package, in a folder that goes: what is packed is a file of its own first.
    with replacing(path) as temporary:
        layer = temporary.with_name("scene.usdc")
        stage = Usd.Stage.CreateNew(str(layer))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y if up == "Y" else UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        told = placement.statement
        stage.GetRootLayer().customLayerData = {"vist3a": {"axes": told["axes"], "unit": told["unit"]}}
        root = UsdGeom.Xform.Define(stage, ROOT).GetPrim()
        Usd.ModelAPI(root).SetKind(Kind.Tokens.component)
        stage.SetDefaultPrim(root)
        if gaussians is not None:
            _write_splats(stage, placement.gaussians(check_writable(path, gaussians)))
        _write_mesh(stage, mesh, placement)
        stage.GetRootLayer().Save()
        del stage
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(temporary)):
            raise ValueError(f"{path} was not written: OpenUSD could not pack it")


def _write_splats(stage: Any, gaussians: Gaussians) -> None:
    from pxr import Sdf, Usd, UsdGeom, Vt

    def vectors(values: torch.Tensor) -> Any:
        return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values.reshape(-1, 3).numpy()))

    means, scales = gaussians.means[0], gaussians.scales[0]
    color = (0.5 + BAND_ZERO * gaussians.harmonics[0, :, 0]).clamp(0, 1)
    if not Usd.SchemaRegistry().FindConcretePrimDefinition(SCHEMA):
        points = UsdGeom.Points.Define(stage, f"{ROOT}/Splats")
        points.CreatePointsAttr(vectors(means))
        # Widths are diameters.
        points.CreateWidthsAttr(Vt.FloatArray.FromNumpy((2 * scales.mean(-1)).numpy()))
        points.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
        points.CreateExtentAttr(_extent(means.numpy(), scales.mean(-1, keepdim=True).numpy()))
        points.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(vectors(color))
        points.CreateDisplayOpacityPrimvar(UsdGeom.Tokens.vertex).Set(
            Vt.FloatArray.FromNumpy(gaussians.opacities[0].numpy())
        )
        return
    degree = min(MAX_DEGREE, degree_of_bands(gaussians.harmonics.shape[2]))
    prim = stage.DefinePrim(f"{ROOT}/Splats", SCHEMA)
    values = {
        "positions": (Sdf.ValueTypeNames.Point3fArray, vectors(means)),
        "scales": (Sdf.ValueTypeNames.Float3Array, vectors(scales)),
        "orientations": (
            Sdf.ValueTypeNames.QuatfArray,
            # FromNumpy takes the imaginary parts first.
            Vt.QuatfArray.FromNumpy(np.ascontiguousarray(gaussians.rotations[0][:, [1, 2, 3, 0]].numpy())),
        ),
        "opacities": (Sdf.ValueTypeNames.FloatArray, Vt.FloatArray.FromNumpy(gaussians.opacities[0].numpy())),
        "radiance:sphericalHarmonicsDegree": (Sdf.ValueTypeNames.Int, degree),
        "radiance:sphericalHarmonicsCoefficients": (
            Sdf.ValueTypeNames.Float3Array,
            vectors(gaussians.harmonics[0, :, : (degree + 1) ** 2]),
        ),
        "extent": (Sdf.ValueTypeNames.Float3Array, _extent(means.numpy(), 3 * scales.amax(-1, keepdim=True).numpy())),
        "primvars:displayColor": (Sdf.ValueTypeNames.Color3fArray, vectors(color)),
    }
    for name, (kind, value) in values.items():
        prim.CreateAttribute(name, kind, custom=False).Set(value)
    UsdGeom.Primvar(prim.GetAttribute("primvars:displayColor")).SetInterpolation(UsdGeom.Tokens.vertex)


def _write_mesh(stage: Any, mesh: Mesh, placement: Placement) -> None:
    from pxr import UsdGeom, Vt

    vertices = placement.points(torch.from_numpy(mesh.vertices)).numpy()
    shape = UsdGeom.Mesh.Define(stage, f"{ROOT}/Mesh")
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(vertices))
    shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.astype(np.int32).reshape(-1)))
    # Triangles are what they are: no smooth surface is meant.
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    shape.CreateExtentAttr(_extent(vertices, np.zeros((1, 1), np.float32)))
    colors = Vt.Vec3fArray.FromNumpy(mesh.colors.astype(np.float32))
    shape.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(colors)


def _extent(places: np.ndarray, radius: np.ndarray) -> Any:
    from pxr import Vt

    return Vt.Vec3fArray.FromNumpy(np.stack([(places - radius).min(0), (places + radius).max(0)]).astype(np.float32))
