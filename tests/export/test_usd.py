"""USDZ and compressed PLY: valid, and the same picture off the path when others read them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from npm_tools import splat_transform
from pxr import Usd, UsdGeom, UsdValidation
from scene_cases import coloured_gaussians, panning_cameras, small_scene
from test_mesh import TETRAHEDRON
from world_cases import world_scene

from vist3a import registry
from vist3a.export.compressed_ply import save_compressed_ply
from vist3a.export.formats import AssetSettings, Exported
from vist3a.export.placement import Placement, PlacementSettings, place_scene
from vist3a.export.ply import load_gaussians
from vist3a.export.turntable import orbit
from vist3a.export.usd import save_usdz
from vist3a.export.viewer import Caption
from vist3a.geometry.spherical_harmonics import BAND_ZERO
from vist3a.metrics.image import psnr
from vist3a.records import Cameras, Gaussians
from vist3a.rendering.cpu import CpuRenderer


def beside() -> Cameras:
    """Views that no frame has, around a place before the middle camera."""
    return orbit(panning_cameras()[2], 3.0, 7, 20.0)[1:6][None]


def picture(gaussians: Gaussians, placement: Placement | None = None) -> torch.Tensor:
    """Rendered beside the path, by cameras that are placed with the scene."""
    cameras = beside()
    if placement is not None:
        pose = cameras.world_to_camera.double().clone()
        pose[..., :3, :3] = pose[..., :3, :3] @ placement.turn.T
        pose[..., :3, 3] = placement.factor * pose[..., :3, 3]
        cameras = Cameras(pose.float(), cameras.intrinsics)
    return CpuRenderer()(gaussians, cameras, (48, 64)).rgb.clamp(0, 1)


def splats_in(prim: Any) -> Gaussians:
    """What OpenUSD reads of its own schema."""

    def values(name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(prim.GetAttribute(name).Get(), dtype=np.float32))

    count = len(values("positions"))
    rotations = [[q.GetReal(), *q.GetImaginary()] for q in prim.GetAttribute("orientations").Get()]
    return Gaussians(
        means=values("positions")[None],
        scales=values("scales")[None],
        rotations=torch.tensor(rotations)[None],
        opacities=values("opacities")[None],
        harmonics=values("radiance:sphericalHarmonicsCoefficients").reshape(1, count, -1, 3),
    )


def complaints(path: Path) -> list[str]:
    """What the validators of OpenUSD say of a package."""
    context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
    return [error.GetMessage() for error in context.Validate(Usd.Stage.Open(str(path)))]


@pytest.mark.parametrize("target", ["gltf", "blender"])
def test_splats_of_a_package_look_the_same_off_the_path(target: str, tmp_path: Path) -> None:
    placement = place_scene(PlacementSettings(target=target, scale=2.0), None)
    up = "Y" if target == "gltf" else "Z"
    save_usdz(tmp_path / "scene.usdz", coloured_gaussians(), TETRAHEDRON, placement, up)
    assert complaints(tmp_path / "scene.usdz") == []
    stage = Usd.Stage.Open(str(tmp_path / "scene.usdz"))
    assert UsdGeom.GetStageUpAxis(stage) == up and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetRootLayer().customLayerData["vist3a"] == {"axes": placement.axes, "unit": "meter"}
    read = splats_in(stage.GetPrimAtPath("/Scene/Splats"))
    assert float(psnr(picture(read, placement), picture(coloured_gaussians())).mean()) > 40
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Scene/Mesh"))
    corners = torch.from_numpy(np.array(mesh.GetPointsAttr().Get()))
    torch.testing.assert_close(corners, placement.points(torch.from_numpy(TETRAHEDRON.vertices)))
    np.testing.assert_allclose(np.array(mesh.GetDisplayColorPrimvar().Get()), TETRAHEDRON.colors)
    assert list(mesh.GetFaceVertexIndicesAttr().Get()) == TETRAHEDRON.faces.reshape(-1).tolist()


def test_without_the_schema_splats_are_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in an OpenUSD of before 26.3: no schema has this name.
    monkeypatch.setattr("vist3a.export.usd.SCHEMA", "ParticleFieldOfTheFuture")
    gaussians = coloured_gaussians()
    save_usdz(tmp_path / "scene.usdz", gaussians, TETRAHEDRON, Placement(), "Y")
    assert complaints(tmp_path / "scene.usdz") == []
    stage = Usd.Stage.Open(str(tmp_path / "scene.usdz"))
    points = UsdGeom.Points(stage.GetPrimAtPath("/Scene/Splats"))
    np.testing.assert_allclose(np.array(points.GetPointsAttr().Get()), gaussians.means[0])
    color = (0.5 + BAND_ZERO * gaussians.harmonics[0, :, 0]).clamp(0, 1)
    np.testing.assert_allclose(np.array(points.GetDisplayColorPrimvar().Get()), color, atol=1e-6)


def test_the_exporter_writes_a_valid_package(tmp_path: Path) -> None:
    scene, frames, _, _ = world_scene(0)
    settings = AssetSettings(target="unreal", scale="camera height 1.6", level=True, mesh_voxels=48)
    exported = Exported(Caption("a scene", {}), frames, scene, None, settings)
    path = registry.find("exporters", "usd")(tmp_path, exported)
    assert path == tmp_path / "scene.usdz" and [p.name for p in tmp_path.iterdir()] == ["scene.usdz"]
    assert complaints(path) == []
    stage = Usd.Stage.Open(str(path))
    # Of Unreal's axes only upward is taken: packages are right-handed, and their unit is the meter.
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    heights = np.array(UsdGeom.Mesh(stage.GetPrimAtPath("/Scene/Mesh")).GetPointsAttr().Get())[:, 2]
    assert abs(np.quantile(heights, 0.1)) < 0.1 and not stage.GetPrimAtPath("/Scene/Splats")


@pytest.mark.parametrize("bands", [1, 4, 16])
def test_compressed_splats_look_the_same_to_others(bands: int, tmp_path: Path) -> None:
    """Read by splat-transform of PlayCanvas, whose format it is."""
    made = coloured_gaussians()
    harmonics = torch.zeros(1, 600, bands, 3)
    harmonics[:, :, : min(4, bands)] = made.harmonics[:, :, : min(4, bands)]
    gaussians = Gaussians(made.means, made.scales, made.rotations, made.opacities, harmonics)
    save_compressed_ply(tmp_path / "ours.compressed.ply", gaussians, ["axes: x right"])
    assert b"comment axes: x right\n" in (tmp_path / "ours.compressed.ply").read_bytes()[:200]
    splat_transform(tmp_path / "ours.compressed.ply", tmp_path / "theirs.ply")
    read = load_gaussians(tmp_path / "theirs.ply")
    assert read.means.shape == gaussians.means.shape and read.harmonics.shape[2] == bands
    assert float(psnr(picture(read), picture(gaussians)).mean()) > 32


def test_an_empty_set_is_not_compressed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.compressed\.ply was not written: compressed PLY files hold at least one"):
        save_compressed_ply(tmp_path / "x.compressed.ply", coloured_gaussians().select(0, torch.zeros(0).long()))


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("usd", "pxr", "usd"), ("compressed_ply", "gsply", "splats"), ("sog", "gaussforge", "splats"),
     ("mesh", "skimage.measure", "mesh"), ("collision", "fast_simplification", "mesh")],
)  # fmt: skip
def test_a_missing_package_is_one_sentence(
    name: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    caption, frames, scene = small_scene()
    exported = Exported(caption, frames, scene, scene.gaussians, AssetSettings(mesh_voxels=32))
    with pytest.raises(ModuleNotFoundError, match=rf"not installed here; allowed: pip install 'vist3a\[{extra}\]'"):
        registry.find("exporters", name)(tmp_path, exported)
    assert list(tmp_path.iterdir()) == []
