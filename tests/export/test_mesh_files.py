"""Files of meshes and packages field by field, by other readers or from the bytes."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gsply
import numpy as np
import pytest
import torch
from gaussian_cases import assert_same_rotations, some_gaussians
from plyfile import PlyData
from pxr import Usd, UsdGeom
from test_mesh import TETRAHEDRON
from world_cases import splats_of, world_scene

from vist3a.export.collision import CollisionMesh, collision_mesh
from vist3a.export.compressed_ply import save_compressed_ply
from vist3a.export.formats import AssetSettings, Exported
from vist3a.export.glb_file import read_glb, write_glb
from vist3a.export.gltf import linear_rgba
from vist3a.export.mesh import Mesh, scene_mesh
from vist3a.export.mesh_file import (
    _voxels,
    collision_glb,
    mesh_glb,
    mesh_ply,
    save_collision_glb,
    save_mesh_glb,
    save_mesh_ply,
)
from vist3a.export.placement import Placement, PlacementSettings, place_scene
from vist3a.export.ply import check_writable
from vist3a.export.usd import save_usdz, usd_package
from vist3a.export.viewer import Caption
from vist3a.geometry.ground import Ground
from vist3a.geometry.spherical_harmonics import BAND_ZERO
from vist3a.records import Gaussians
from vist3a.runtime.numerics import threads_kept

TESTS = Path(__file__).resolve().parents[1]
GRAYS = replace(
    TETRAHEDRON,
    colors=np.array([[0.0, 0.002, 0.0019], [0.502, 0.31, 0.25], [0.999, 0.997, 1], [0.72, 0.11, 0.91]], np.float32),
)
UNREAL = place_scene(PlacementSettings(target="unreal", scale=0.5), None)


def document_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """JSON and binary of a GLB, whose chunks are of multiples of four bytes and fill the file."""
    data = path.read_bytes()
    magic, version, total, size, kind = struct.unpack_from("<IIIII", data)
    assert (magic, version, total, kind) == (0x46546C67, 2, len(data), 0x4E4F534A) and size % 4 == 0
    length, other = struct.unpack_from("<II", data, 20 + size)
    assert (other, 28 + size + length) == (0x004E4942, len(data)) and length % 4 == 0
    return json.loads(data[20 : 20 + size]), data[28 + size :]


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd"])
def test_a_glb_is_as_its_specification_says(name: str, tmp_path: Path) -> None:
    positions = np.array([[0.0, 1, 2], [-3, 4, 5], [6, -7, 8], [1, 1, 1], [0, 9, -2]], np.float32)
    colors, faces = np.arange(20).reshape(5, 4).astype(np.uint16) * 3000, np.array([[0, 1, 2], [3, 4, 70000]])[:, ::-1]
    write_glb(
        tmp_path / "a.glb",
        {"COLOR_0": colors, "POSITION": positions},
        {"material": 0},
        {"materials": []},
        faces,
        {"n": name},
    )
    document, binary = document_of(tmp_path / "a.glb")
    assert document["asset"] == {"version": "2.0", "generator": "vist3a", "extras": {"n": name}}
    assert (document["scene"], document["scenes"], document["nodes"]) == (0, [{"nodes": [0]}], [{"mesh": 0}])
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive == {"attributes": {"COLOR_0": 0, "POSITION": 1}, "mode": 4, "indices": 2, "material": 0}
    assert document["buffers"] == [{"byteLength": 40 + 60 + 24}] and document["materials"] == []
    assert document["bufferViews"] == [
        {"buffer": 0, "byteOffset": 0, "byteLength": 40, "target": 34962},
        {"buffer": 0, "byteOffset": 40, "byteLength": 60, "target": 34962},
        {"buffer": 0, "byteOffset": 100, "byteLength": 24, "target": 34963},
    ]
    assert document["accessors"] == [
        {"bufferView": 0, "count": 5, "type": "VEC4", "componentType": 5123, "normalized": True},
        {"bufferView": 1, "count": 5, "type": "VEC3", "componentType": 5126, "min": [-3, -7, -2], "max": [6, 9, 8]},
        {"bufferView": 2, "count": 6, "type": "SCALAR", "componentType": 5125},
    ]
    assert binary == colors.astype("<u2").tobytes() + positions.astype("<f4").tobytes() + struct.pack(
        "<6I", 2, 1, 0, 70000, 4, 3
    )
    read = read_glb(tmp_path / "a.glb")
    np.testing.assert_array_equal(read["POSITION"], positions)
    np.testing.assert_array_equal(read["COLOR_0"], colors)
    # Big-endian numbers are written as little-endian ones; without faces there are points, and without extras none.
    write_glb(tmp_path / "b.glb", {"POSITION": positions.astype(">f4")}, {}, {})
    document, binary = document_of(tmp_path / "b.glb")
    assert document["meshes"][0]["primitives"] == [{"attributes": {"POSITION": 0}, "mode": 0}]
    assert document["asset"] == {"version": "2.0", "generator": "vist3a"} and document["buffers"] == [
        {"byteLength": 60}
    ]
    assert binary == positions.astype("<f4").tobytes()


def test_a_broken_head_is_refused(tmp_path: Path) -> None:
    write_glb(tmp_path / "a.glb", {"POSITION": np.zeros((2, 3), np.float32)}, {}, {})
    good = (tmp_path / "a.glb").read_bytes()
    assert read_glb(tmp_path / "a.glb")["POSITION"].shape == (2, 3)
    read_glb(tmp_path / "a.glb")["POSITION"][0, 0] = 1
    for place in (0, 4, 8, 16):
        (tmp_path / "a.glb").write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(ValueError, match=r"a\.glb is not a GLB of points: its header is not that of a GLB"):
            read_glb(tmp_path / "a.glb")
    for short in (good[:8], b"", good[:12]):
        (tmp_path / "a.glb").write_bytes(short)
        with pytest.raises(ValueError, match="is not a GLB of points"):
            read_glb(tmp_path / "a.glb")


@pytest.mark.parametrize("mirrored", [True, False])
def test_a_ply_holds_what_was_placed(mirrored: bool, tmp_path: Path) -> None:
    placement = UNREAL if mirrored else place_scene(PlacementSettings(target="blender"), None)
    save_mesh_ply(tmp_path / "mesh.ply", GRAYS, placement)
    read = PlyData.read(str(tmp_path / "mesh.ply"))
    assert not read.text and read.byte_order == "<" and read.comments == placement.lines
    vertex, face = read["vertex"].data, read["face"].data["vertex_indices"]
    assert vertex.dtype.descr == [(n, "<f4") for n in "xyz"] + [(n, "|u1") for n in ("red", "green", "blue")]
    wanted = placement.points(torch.from_numpy(GRAYS.vertices))
    np.testing.assert_array_equal(np.stack([vertex[n] for n in "xyz"], -1), wanted)
    assert np.stack([vertex[n] for n in ("red", "green", "blue")], -1).tolist() == [
        [0, 1, 0], [128, 79, 64], [255, 254, 255], [184, 28, 232]
    ]  # fmt: skip
    assert [list(f) for f in face] == (GRAYS.faces[:, ::-1] if mirrored else GRAYS.faces).tolist()


def test_a_mesh_glb_is_unlit_and_says_where_it_stands(tmp_path: Path) -> None:
    placement = place_scene(PlacementSettings(target="gltf", scale=0.5), None)
    save_mesh_glb(tmp_path / "mesh.glb", GRAYS, placement)
    document, _ = document_of(tmp_path / "mesh.glb")
    assert document["meshes"][0]["primitives"][0]["material"] == 0
    assert document["materials"] == [{"extensions": {"KHR_materials_unlit": {}}}]
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]
    assert document["asset"]["extras"] == json.loads(json.dumps(placement.statement))
    read = read_glb(tmp_path / "mesh.glb")
    np.testing.assert_array_equal(read["COLOR_0"], linear_rgba(torch.from_numpy(GRAYS.colors), torch.ones(4)))
    np.testing.assert_array_equal(read["POSITION"], placement.points(torch.from_numpy(GRAYS.vertices)))


@pytest.mark.parametrize("ground", [Ground(torch.tensor([0.0, -1, 0]), -1.0, 0.5), None])
def test_a_collision_mesh_says_what_is_wrong_with_it(ground: Ground | None, tmp_path: Path) -> None:
    mesh = CollisionMesh(GRAYS.vertices, GRAYS.faces, ground, 0.654321, 0.123456, False)
    save_collision_glb(tmp_path / "mesh.glb", mesh, UNREAL)
    document, binary = document_of(tmp_path / "mesh.glb")
    assert document["asset"]["extras"]["collision"] == {
        "closed": False, "ground": ground is not None, "largest_hole": 0.1235, "largest_hole_in_what_was_seen": 0.6543,
        "flagged": True,
    }  # fmt: skip
    assert document["asset"]["extras"]["unit"] == "centimeter"
    assert list(struct.unpack("<12I", binary[48:])) == GRAYS.faces[:, ::-1].reshape(-1).tolist()


@pytest.mark.parametrize(
    ("size", "given", "wanted"),
    [((40, 50), None, 100), ((90, 70), None, 180), ((10, 200), None, 256), ((40, 50), 33, 33)],
)
def test_two_voxels_of_every_pixel_and_256_at_most(size: tuple[int, int], given: int | None, wanted: int) -> None:
    scene, _, _, _ = world_scene(1, 1, 16, 2)
    exported = Exported(
        Caption("a scene", {}), torch.zeros(1, 2, 3, *size), scene, None, AssetSettings(mesh_voxels=given)
    )
    assert _voxels(exported) == wanted


def test_exporters_hand_their_settings_on(tmp_path: Path) -> None:
    scene, frames, _, _ = world_scene(1, 1, 24, 3)
    scene = replace(scene, depth_confidence=torch.rand(scene.depth.shape, generator=torch.Generator().manual_seed(0)))
    settings = AssetSettings("unity", 2.0, drop_points=0.4, mesh_voxels=20, collision_faces=300)
    exported = Exported(Caption("a scene", {}), frames, scene, None, settings)
    for exporter in (mesh_glb, mesh_ply, collision_glb):
        exporter(tmp_path, exported)
    mesh, solid = scene_mesh(scene, frames, 20, 0.4), collision_mesh(scene, 20, 300, 0.4)
    gltf, unity = (place_scene(PlacementSettings(target, 2.0), scene) for target in ("gltf", "unity"))
    save_mesh_glb(tmp_path / "a.glb", mesh, gltf)
    save_mesh_ply(tmp_path / "a.ply", mesh, unity)
    save_collision_glb(tmp_path / "b.glb", solid, gltf)
    for made, wanted in (("mesh.glb", "a.glb"), ("mesh.ply", "a.ply"), ("mesh.collision.glb", "b.glb")):
        assert (tmp_path / made).read_bytes() == (tmp_path / wanted).read_bytes()


def long_splats(bands: int = 4) -> Gaussians:
    """Splats of three different sizes along their axes, some of colors that cannot be shown."""
    made = some_gaussians(bands, 40)
    made.harmonics[:, ::4, 0] *= 3
    return made


def stage_of(path: Path) -> Usd.Stage:
    return Usd.Stage.Open(str(path))


def around(places: np.ndarray, radius: np.ndarray) -> list[np.ndarray]:
    return [(places - radius).min(0), (places + radius).max(0)]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("bands", [1, 9, 25])
def test_a_package_holds_every_splat(known: bool, bands: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not known:
        # As in an OpenUSD of before 26.3: no schema has this name.
        monkeypatch.setattr("vist3a.export.usd.SCHEMA", "ParticleFieldOfTheFuture")
    made = long_splats(bands)
    learned = replace(made, means=made.means.clone().requires_grad_(), scales=made.scales.clone().requires_grad_())
    save_usdz(tmp_path / "scene.usdz", learned, TETRAHEDRON, Placement(), "Y")
    stage = stage_of(tmp_path / "scene.usdz")
    assert (
        str(stage.GetDefaultPrim().GetPath()) == "/Scene"
        and Usd.ModelAPI(stage.GetDefaultPrim()).GetKind() == "component"
    )
    prim = stage.GetPrimAtPath("/Scene/Splats")
    means, scales = made.means[0].numpy(), made.scales[0].numpy()
    color = (0.5 + BAND_ZERO * made.harmonics[0, :, 0]).clamp(0, 1)
    assert (color == 1).any() and (color == 0).any()

    def values(name: str) -> np.ndarray:
        return np.array(prim.GetAttribute(name).Get())

    np.testing.assert_allclose(values("primvars:displayColor"), color, atol=1e-6)
    assert UsdGeom.Primvar(prim.GetAttribute("primvars:displayColor")).GetInterpolation() == "vertex"
    if not known:
        assert prim.GetTypeName() == "Points"
        np.testing.assert_array_equal(values("points"), means)
        np.testing.assert_allclose(values("widths"), 2 * scales.mean(1), rtol=1e-6)
        assert UsdGeom.Points(prim).GetWidthsInterpolation() == "vertex"
        np.testing.assert_allclose(values("extent"), around(means, scales.mean(1, keepdims=True)), atol=1e-6)
        np.testing.assert_array_equal(values("primvars:displayOpacity"), made.opacities[0])
        assert UsdGeom.Primvar(prim.GetAttribute("primvars:displayOpacity")).GetInterpolation() == "vertex"
        return
    np.testing.assert_array_equal(values("positions"), means)
    np.testing.assert_array_equal(values("scales"), scales)
    np.testing.assert_array_equal(values("opacities"), made.opacities[0])
    rotations = [[q.GetReal(), *q.GetImaginary()] for q in prim.GetAttribute("orientations").Get()]
    assert_same_rotations(torch.tensor(rotations), made.rotations[0], 1e-6)
    degree = {1: 0, 9: 2, 25: 3}[bands]
    assert prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get() == degree
    coefficients = made.harmonics[0, :, : (degree + 1) ** 2].reshape(-1, 3)
    np.testing.assert_array_equal(values("radiance:sphericalHarmonicsCoefficients"), coefficients)
    np.testing.assert_allclose(values("extent"), around(means, 3 * scales.max(1, keepdims=True)), atol=1e-6)
    assert not any(attribute.IsCustom() for attribute in prim.GetAttributes())


def test_the_mesh_of_a_package_is_made_of_triangles(tmp_path: Path) -> None:
    placement = place_scene(PlacementSettings(target="blender", scale=2.0), None)
    bent = Mesh(TETRAHEDRON.vertices, TETRAHEDRON.faces[:3], TETRAHEDRON.colors.astype(np.float64))
    save_usdz(tmp_path / "scene.usdz", None, bent, placement, "Z")
    stage = stage_of(tmp_path / "scene.usdz")
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Scene/Mesh"))
    assert list(mesh.GetFaceVertexCountsAttr().Get()) == [3, 3, 3]
    assert (
        mesh.GetSubdivisionSchemeAttr().Get() == "none" and mesh.GetDisplayColorPrimvar().GetInterpolation() == "vertex"
    )
    points = np.array(mesh.GetPointsAttr().Get())
    np.testing.assert_array_equal(points, placement.points(torch.from_numpy(TETRAHEDRON.vertices)))
    np.testing.assert_array_equal(np.array(mesh.GetExtentAttr().Get()), [points.min(0), points.max(0)])
    assert not stage.GetPrimAtPath("/Scene/Splats")


@pytest.mark.parametrize("target", ["gltf", "unity", "network", "blender", "nerfstudio", "unreal"])
def test_packages_are_right_handed_and_upright_as_their_target(target: Any, tmp_path: Path) -> None:
    scene, frames, _, _ = world_scene(1, 1, 24, 3)
    settings = AssetSettings(target, 2.0, drop_points=0.4, mesh_voxels=20)
    splats = splats_of(scene, frames)
    usd_package(tmp_path, Exported(Caption("a scene", {}), frames, scene, splats, settings))
    upright = target in ("blender", "nerfstudio", "unreal")
    placement = place_scene(PlacementSettings("blender" if upright else "gltf", 2.0), scene)
    stage = stage_of(tmp_path / "scene.usdz")
    assert UsdGeom.GetStageUpAxis(stage) == ("Z" if upright else "Y") and UsdGeom.GetStageMetersPerUnit(stage) == 1
    wanted = placement.points(torch.from_numpy(scene_mesh(scene, frames, 20, 0.4).vertices))
    np.testing.assert_array_equal(
        np.array(UsdGeom.Mesh(stage.GetPrimAtPath("/Scene/Mesh")).GetPointsAttr().Get()), wanted
    )
    positions = np.array(stage.GetPrimAtPath("/Scene/Splats").GetAttribute("positions").Get())
    np.testing.assert_allclose(positions, placement.points(splats.means[0]), atol=1e-6)


def test_writing_compressed_splats_changes_no_number_of_threads(tmp_path: Path) -> None:
    """In a process of its own: parallel code of another library sets it when it first runs."""
    program = (
        "import sys, torch; from pathlib import Path; sys.path.insert(0, sys.argv[1]); torch.set_num_threads(1)\n"
        "from gaussian_cases import some_gaussians; from vist3a.export.compressed_ply import save_compressed_ply\n"
        "save_compressed_ply(Path(sys.argv[2]), some_gaussians(1, 300)); print(torch.get_num_threads())"
    )
    paths = os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(TESTS), str(tmp_path / "a.ply")],
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "1", done.stderr[-2000:]


@pytest.mark.parametrize("bands", [1, 9, 16, 25])
def test_compressed_splats_are_what_they_were_to_a_step(bands: int, tmp_path: Path) -> None:
    """By bytes that the library packs, and as it reads them, in any order."""
    made = some_gaussians(bands, 300)
    opacities, scales = made.opacities.clone(), made.scales.clone()
    opacities[0, :3], scales[0, :3, 1] = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.0, 1e-20, 0.02])
    learned = replace(made, opacities=opacities.requires_grad_(), scales=scales.requires_grad_())
    save_compressed_ply(tmp_path / "a.ply", learned, ["axes: x", "unit: meter"])
    data = (tmp_path / "a.ply").read_bytes()
    lines = data.split(b"end_header")[0].decode().split("\n")
    assert lines[:4] == ["ply", "format binary_little_endian 1.0", "comment axes: x", "comment unit: meter"]
    unit = check_writable(tmp_path / "a.ply", made).rotations[0].numpy()
    higher = made.harmonics[0, :, 1:16].contiguous().numpy() if bands > 1 else None
    with threads_kept():
        wanted = gsply.compress_to_bytes(
            made.means[0].numpy(), scales[0].detach().clamp(min=1e-12).log().numpy(), unit,
            torch.logit(opacities[0].detach().double().clamp(1e-6, 1 - 1e-6)).float().numpy(),
            made.harmonics[0, :, 0].contiguous().numpy(), higher,
        )  # fmt: skip
        assert data.replace(b"comment axes: x\ncomment unit: meter\n", b"") == wanted
        read = gsply.decompress_from_bytes(wanted)
    order = np.array([np.abs(made.means[0].numpy() - mean).sum(1).argmin() for mean in read.means])
    np.testing.assert_allclose(read.means, made.means[0].numpy()[order], atol=0.02)
    np.testing.assert_allclose(1 / (1 + np.exp(-read.opacities)), opacities[0].detach().numpy()[order], atol=0.005)
