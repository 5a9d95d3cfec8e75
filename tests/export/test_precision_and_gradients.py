"""What is written is the value itself: rounded once, computed in float64, and of tensors that still have gradients."""

from __future__ import annotations

import gzip
import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from gaussian_cases import some_gaussians
from PIL import Image
from plyfile import PlyData
from scene_cases import small_scene
from scipy.spatial.transform import Rotation

from vist3a.export.cameras import save_cameras
from vist3a.export.colmap import save_colmap
from vist3a.export.depth import save_depth_npz, save_depth_png
from vist3a.export.gltf import save_gaussians_glb, save_point_cloud_glb
from vist3a.export.ply import save_gaussians, save_point_cloud
from vist3a.export.spz import save_spz
from vist3a.export.thinning import fuse_voxels
from vist3a.export.video import save_image, save_video
from vist3a.export.viewer import save_viewer
from vist3a.records import Cameras, Gaussians, Reconstruction


def maps(seed: int = 0) -> torch.Tensor:
    return 0.3 + 5 * torch.rand(60, 80, generator=torch.Generator().manual_seed(seed))


def learned(tensor: torch.Tensor, grad: bool) -> torch.Tensor:
    return tensor.clone().requires_grad_() if grad else tensor


WRITERS: dict[str, Callable[[Path, bool], None]] = {
    "depth.png": lambda path, grad: void(save_depth_png(path, learned(maps(), grad))),
    "depth.npz": lambda path, grad: save_depth_npz(path, learned(maps(), grad), learned(maps(1), grad)),
    "image.png": lambda path, grad: save_image(path, learned(maps()[None].repeat(3, 1, 1) / 6, grad)),
    "clip.mp4": lambda path, grad: save_video(path, learned(maps().expand(2, 3, 60, 80) / 6, grad)),
    "gaussians.ply": lambda path, grad: save_gaussians(path, gaussians(grad)),
    "gaussians.spz": lambda path, grad: save_spz(path, gaussians(grad)),
    "gaussians.glb": lambda path, grad: save_gaussians_glb(path, gaussians(grad)),
    "points.ply": lambda path, grad: void(save_point_cloud(path, *cloud(grad))),
    "points.glb": lambda path, grad: void(save_point_cloud_glb(path, *cloud(grad))),
    "page.html": lambda path, grad: page(path, grad),  # noqa: PLW0108 (defined below)
}


def void(_: object) -> None:
    """A writer's answer, which nobody asked for."""


def gaussians(grad: bool) -> Gaussians:
    g = some_gaussians(4, 9)
    return Gaussians(*(learned(getattr(g, field.name), grad) for field in fields(g)))


def cloud(grad: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    points, colors, trust = maps()[:, :3], maps(1)[:, :3] / 6, maps(2)[:, 0]
    return learned(points, grad), learned(colors, grad), learned(trust, grad)


def page(path: Path, grad: bool) -> None:
    caption, frames, scene = small_scene()
    changed = Reconstruction(
        Cameras(learned(scene.cameras.world_to_camera, grad), learned(scene.cameras.intrinsics, grad)),
        learned(scene.depth, grad), scene.depth_confidence, learned(scene.points, grad), learned(scene.points_confidence, grad),
    )  # fmt: skip
    save_viewer(path, caption, learned(frames[0], grad), changed, gaussians(grad))


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_needs_to_be_detached_before_it_is_written(tmp_path: Path, name: str) -> None:
    for folder, grad in (("plain", False), ("learned", True)):
        (tmp_path / folder).mkdir()
        WRITERS[name](tmp_path / folder / name, grad)
    plain, with_gradients = ((tmp_path / folder / name).read_bytes() for folder in ("plain", "learned"))
    # An encoder of videos that uses threads may give other bytes every time.
    video = re.compile(rb"data:video/mp4;base64,[^\"]*")
    assert len(with_gradients) > 100
    assert name == "clip.mp4" or video.sub(b"", plain) == video.sub(b"", with_gradients)


def test_levels_of_depth_are_rounded_once(tmp_path: Path) -> None:
    depth = torch.rand(200, 300, generator=torch.Generator().manual_seed(3)) * 7 + 0.01
    scale = save_depth_png(tmp_path / "a.png", depth)
    assert scale == float(depth.max()) / 65535
    expected = np.round(depth.double().numpy() / scale)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "a.png")), expected)


def test_linear_colors_and_logits_are_rounded_once(tmp_path: Path) -> None:
    count = 20_000
    colors = torch.rand(count, 3, generator=torch.Generator().manual_seed(4))
    save_point_cloud_glb(tmp_path / "a.glb", torch.zeros(count, 3), colors)
    data = (tmp_path / "a.glb").read_bytes()
    start = 20 + struct.unpack_from("<I", data, 12)[0] + 8 + 12 * count
    stored = np.frombuffer(data[start : start + 8 * count], "<u2").reshape(count, 4)
    value = colors.double().numpy()
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    np.testing.assert_array_equal(stored[:, :3], np.round(linear * 65535))
    g = some_gaussians(1, 400)
    opacities = 1 - torch.logspace(-6, 0, 400)[None]
    save_gaussians(tmp_path / "a.ply", Gaussians(g.means, g.scales, g.rotations, opacities, g.harmonics))
    p = np.clip(opacities[0].double().numpy(), np.float32(1e-6), np.float32(1 - 1e-6))
    stored = np.asarray(PlyData.read(str(tmp_path / "a.ply"))["vertex"]["opacity"])
    np.testing.assert_allclose(stored, np.log(p / (1 - p)), rtol=3e-7)


def test_rotations_of_spz_are_rounded_once(tmp_path: Path) -> None:
    """Bit by bit as the format says: the number of the largest component, then sign and nine bits of each other one."""
    count = 20_000
    g = some_gaussians(1, count)
    save_spz(tmp_path / "a.spz", g)
    data = gzip.decompress((tmp_path / "a.spz").read_bytes())
    packed = np.frombuffer(data, "<u4", count, 16 + count * (9 + 1 + 3 + 3))
    unit = torch.nn.functional.normalize(g.rotations[0], dim=-1).double().numpy()
    # Half a turn about x, then x, y, z, w.
    xyzw = (unit * [1, 1, -1, -1])[:, [1, 2, 3, 0]]
    largest = np.abs(xyzw).argmax(1)
    expected = largest.astype(np.uint64)
    signs = np.sign(xyzw[np.arange(count), largest])[:, None]
    for i in range(4):
        part = (xyzw * signs)[:, i]
        size = np.minimum(np.floor(np.abs(part) * math.sqrt(2) * 511 + 0.5), 511).astype(np.uint64)
        word = expected * 1024 + (part < 0) * np.uint64(512) + size
        expected = np.where(largest == i, expected, word)
    # A component on the border of two steps may fall to either side of it by the last bit of a single-precision norm.
    assert np.mean(packed != expected.astype(np.uint32)) < 2e-4


def test_poses_are_turned_into_quaternions_in_double_precision(tmp_path: Path) -> None:
    turns = Rotation.random(20, random_state=3)
    pose = torch.eye(4, dtype=torch.float64).repeat(20, 1, 1)
    pose[:, :3, :3] = torch.from_numpy(turns.as_matrix())
    cameras = Cameras(pose, torch.eye(3, dtype=torch.float64).repeat(20, 1, 1))
    files = [f"{i}.png" for i in range(20)]
    save_colmap(tmp_path, cameras, (4, 4), files)
    rows = [line.split() for line in (tmp_path / "images.txt").read_text().splitlines()[1::2]]
    found = np.array([[float(word) for word in row[1:5]] for row in rows])
    np.testing.assert_allclose(found, np.roll(turns.as_quat(canonical=True), 1, axis=1), atol=2e-9)
    single = Cameras(pose.float(), cameras.intrinsics.float())
    save_colmap(tmp_path / "single", single, (4, 4), files)
    rows = [line.split() for line in (tmp_path / "single" / "images.txt").read_text().splitlines()[1::2]]
    again = np.array([[float(word) for word in row[1:5]] for row in rows])
    exact = Rotation.from_matrix(pose.float().double().numpy()[:, :3, :3]).as_quat(canonical=True)
    np.testing.assert_allclose(again, np.roll(exact, 1, axis=1), atol=3e-8)
    # The numbers of the file are those of the tensors, digit by digit.
    save_cameras(tmp_path / "t.json", single, (4, 4), files)
    matrix = json.loads((tmp_path / "t.json").read_text())["frames"][7]["transform_matrix"]
    expected = single.camera_to_world[7] * torch.tensor([1.0, -1, -1, 1])
    assert matrix == expected.tolist()


def test_fusion_far_from_the_origin_is_computed_in_double_precision() -> None:
    """A thousand Gaussians of a voxel as far away as maps are, whose spread single precision would lose."""
    g = some_gaussians(1, 1000, spread=0.01)
    far = Gaussians(g.means + 500.5, g.scales * 0.1, g.rotations, g.opacities, g.harmonics)
    fused = fuse_voxels(far, 1.0)
    exact = fuse_voxels(far.to(dtype=torch.float64), 1.0)
    assert fused.means.shape[1] == 1 and fused.means.dtype == torch.float32
    for field in fields(far):
        assert torch.equal(getattr(fused, field.name), getattr(exact, field.name).float()), field.name


def test_a_glb_is_one_scene_of_one_node_of_one_mesh_of_points(tmp_path: Path) -> None:
    """Every number that refers to a part refers to the one there is; fallback colors are those of the constant band."""
    made = some_gaussians(4, 6)
    # Some of their colors lie outside of what can be shown.
    g = Gaussians(made.means, made.scales, made.rotations, made.opacities, 3 * made.harmonics)
    save_gaussians_glb(tmp_path / "a.glb", g)
    data = (tmp_path / "a.glb").read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    document, binary = json.loads(data[20 : 20 + size]), data[28 + size :]
    (scene,) = document["scenes"]
    assert document["scene"] == 0 and scene["nodes"] == [0] and document["nodes"] == [{"mesh": 0}]
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0 and len(document["meshes"]) == 1 and document["asset"]["version"] == "2.0"
    assert all(view["buffer"] == 0 and view["target"] == 34962 for view in document["bufferViews"])
    assert sorted(primitive["attributes"].values()) == list(range(len(document["accessors"])))
    kinds = {name: document["accessors"][i] for name, i in primitive["attributes"].items()}
    assert {a["count"] for a in kinds.values()} == {6}
    assert [a["bufferView"] for a in document["accessors"]] == list(range(len(kinds)))
    assert kinds["POSITION"]["type"] == "VEC3" and kinds["POSITION"]["componentType"] == 5126
    turned = g.means[0] * torch.tensor([1.0, -1, -1])
    assert kinds["POSITION"]["min"] == turned.amin(0).tolist() and kinds["POSITION"]["max"] == turned.amax(0).tolist()
    assert kinds["COLOR_0"] | {"count": 0, "bufferView": 0} == {
        "bufferView": 0, "count": 0, "type": "VEC4", "componentType": 5123, "normalized": True,
    }  # fmt: skip
    view = document["bufferViews"][kinds["COLOR_0"]["bufferView"]]
    stored = np.frombuffer(binary[view["byteOffset"] :][: view["byteLength"]], "<u2").reshape(6, 4) / 65535
    shown = (0.5 + 0.28209479177387814 * g.harmonics[0, :, 0].double()).clamp(0, 1).numpy()
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    assert (shown == 0).any() and (shown == 1).any()
    np.testing.assert_allclose(stored[:, :3], linear, atol=1e-5)
    np.testing.assert_allclose(stored[:, 3], g.opacities[0], atol=1e-5)
    assert document["extensionsUsed"] == ["KHR_gaussian_splatting"]
    assert kinds["KHR_gaussian_splatting:OPACITY"]["type"] == "SCALAR"
    save_point_cloud_glb(tmp_path / "b.glb", g.means[0], torch.rand(6, 3))
    data = (tmp_path / "b.glb").read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    assert document["meshes"][0]["primitives"][0]["material"] == 0
    assert document["materials"] == [{"extensions": {"KHR_materials_unlit": {}}}]
