"""Every format of Gaussians and points comes back to its precision, and readers of others see the same."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from gaussian_cases import assert_same_rotations, covariances, gaussian_sets, some_gaussians
from hypothesis import given, settings
from hypothesis import strategies as st
from npm_tools import gltf_issues, splat_transform
from plyfile import PlyData

from vist3a.export.axes import turn_to_opengl
from vist3a.export.gltf import (
    load_gaussians_glb,
    load_point_cloud_glb,
    save_gaussians_glb,
    save_point_cloud_glb,
)
from vist3a.export.ply import load_gaussians, save_gaussians
from vist3a.export.spz import load_spz, save_spz
from vist3a.records import Cameras, Gaussians
from vist3a.rendering.cpu import CpuRenderer

SIZE = (48, 48)


def test_turning_twice_changes_nothing_and_once_turns_the_picture() -> None:
    """The turned scene seen by the turned camera is the same picture, with view-dependent colours of all degrees."""
    gaussians = scene_in_view(25)
    turned = turn_to_opengl(gaussians)
    for field in fields(gaussians):
        assert torch.equal(getattr(turn_to_opengl(turned), field.name), getattr(gaussians, field.name))
    turn = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    camera = a_camera()
    seen = CpuRenderer()(gaussians, camera, SIZE).rgb
    seen_turned = CpuRenderer()(turned, Cameras(camera.world_to_camera @ turn, camera.intrinsics), SIZE).rgb
    torch.testing.assert_close(seen_turned, seen, rtol=0, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(gaussian_sets((0, 1, 2, 3, 4)))
def test_ply_round_trip(gaussians: Gaussians) -> None:
    with TemporaryDirectory() as folder:
        save_gaussians(Path(folder) / "scene.ply", gaussians)
        read = load_gaussians(Path(folder) / "scene.ply")
    for name in ("means", "harmonics"):
        assert torch.equal(getattr(read, name), getattr(gaussians, name))
    torch.testing.assert_close(read.scales, gaussians.scales, rtol=2e-6, atol=0)
    torch.testing.assert_close(read.opacities, gaussians.opacities, rtol=1e-5, atol=1e-6)
    assert_same_rotations(read.rotations, gaussians.rotations, 1e-6)


@settings(max_examples=25, deadline=None)
@given(gaussian_sets())
def test_spz_round_trip_to_its_steps(gaussians: Gaussians) -> None:
    with TemporaryDirectory() as folder:
        save_spz(Path(folder) / "scene.spz", gaussians)
        read = load_spz(Path(folder) / "scene.spz")
    farthest = float(gaussians.means.abs().max())
    # 24 bits with sign: at least 22 of them are used unless the scene is smaller than what 16 bits behind the point resolve.
    step = max(farthest * 2.0**-22, 2.0**-16)
    assert (read.means - gaussians.means).abs().max() <= 0.5 * step + 1e-6 * farthest
    inside = (gaussians.scales.log() + 10).clamp(0, 255 / 16) - 10
    assert (read.scales.log() - inside).abs().max() <= 1 / 32 + 1e-4
    assert (read.opacities - gaussians.opacities).abs().max() <= 0.5 / 255 + 1e-6
    assert (read.harmonics - gaussians.harmonics)[:, :, 0].abs().max() <= 0.5 / (255 * 0.15) + 1e-5
    higher = (read.harmonics - gaussians.harmonics.clamp(-1, 127 / 128))[:, :, 1:]
    assert higher.numel() == 0 or higher.abs().max() <= 1 / 256 + 1e-5
    assert_same_rotations(read.rotations, gaussians.rotations, 1e-5)


@settings(max_examples=25, deadline=None)
@given(gaussian_sets())
def test_glb_round_trip_of_gaussians_is_exact(gaussians: Gaussians) -> None:
    with TemporaryDirectory() as folder:
        save_gaussians_glb(Path(folder) / "scene.glb", gaussians)
        read = load_gaussians_glb(Path(folder) / "scene.glb")
    for name in ("means", "scales", "opacities", "harmonics"):
        assert torch.equal(getattr(read, name), getattr(gaussians, name))
    assert_same_rotations(read.rotations, gaussians.rotations, 1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 50), st.integers(0, 2**16), st.booleans())
def test_glb_round_trip_of_points(count: int, seed: int, with_confidence: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    points, colors = torch.randn(count, 3, generator=g), torch.rand(count, 3, generator=g)
    confidence = 1 + torch.rand(count, generator=g) if with_confidence else None
    with TemporaryDirectory() as folder:
        assert save_point_cloud_glb(Path(folder) / "points.glb", points, colors, confidence) == count
        xyz, rgb, trust = load_point_cloud_glb(Path(folder) / "points.glb")
    assert torch.equal(xyz, points)
    # 16 linear bits: the steepest part of the transfer function is 12.92.
    assert (rgb - colors).abs().max() <= 12.92 * 0.5 / 65535 + 1e-6
    assert trust is None if confidence is None else torch.equal(trust, confidence)  # type: ignore[arg-type]


def test_bands_above_degree_three_are_left_out(tmp_path: Path) -> None:
    gaussians = some_gaussians(25)
    save_spz(tmp_path / "a.spz", gaussians)
    save_gaussians_glb(tmp_path / "a.glb", gaussians)
    assert load_spz(tmp_path / "a.spz").harmonics.shape[2] == 16
    assert torch.equal(load_gaussians_glb(tmp_path / "a.glb").harmonics, gaussians.harmonics[:, :, :16])


def test_pictures_of_what_was_read_are_ours(tmp_path: Path) -> None:
    """All formats; of the quantised one the picture differs by less than half a grey level of 8 bits on average."""
    gaussians, camera, render = scene_in_view(16), a_camera(), CpuRenderer()
    ours = render(gaussians, camera, SIZE).rgb
    assert (ours < 0.9).float().mean() > 0.2, "the scene is in view"
    save_gaussians(tmp_path / "a.ply", gaussians)
    torch.testing.assert_close(render(load_gaussians(tmp_path / "a.ply"), camera, SIZE).rgb, ours, rtol=0, atol=1e-4)
    save_gaussians_glb(tmp_path / "a.glb", gaussians)
    torch.testing.assert_close(
        render(load_gaussians_glb(tmp_path / "a.glb"), camera, SIZE).rgb, ours, rtol=0, atol=1e-4
    )
    save_spz(tmp_path / "a.spz", gaussians)
    difference = render(load_spz(tmp_path / "a.spz"), camera, SIZE).rgb - ours
    assert -10 * torch.log10(difference.square().mean()) > 40


def test_the_same_gaussians_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_spz(tmp_path / f"{name}.spz", some_gaussians(4))
        save_gaussians_glb(tmp_path / f"{name}.glb", some_gaussians(4))
    assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    # Both may fall into one second: the time in the head of a gzip stream (RFC 1952) must be the one for none.
    assert (tmp_path / "a.spz").read_bytes()[4:8] == bytes(4)


def test_gsplat_writes_the_same_table(tmp_path: Path) -> None:
    """gsplat's own writer takes log scales and logits; its file and ours hold the same numbers under the same names."""
    from gsplat.exporter import splat2ply_bytes

    g = some_gaussians(16)
    save_gaussians(tmp_path / "ours.ply", g)
    data = splat2ply_bytes(
        g.means[0], g.scales[0].log(), g.rotations[0], g.opacities[0].logit(), g.harmonics[0, :, :1].transpose(1, 2).flatten(1),
        g.harmonics[0, :, 1:].transpose(1, 2).flatten(1),
    )  # fmt: skip
    (tmp_path / "theirs.ply").write_bytes(data)
    ours, theirs = (PlyData.read(str(tmp_path / f"{name}.ply"))["vertex"] for name in ("ours", "theirs"))
    names = {p.name for p in theirs.properties}
    assert names == {p.name for p in ours.properties} - {"nx", "ny", "nz"}
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(load_gaussians(tmp_path / "theirs.ply").means, g.means)


def test_splat_transform_reads_our_files(tmp_path: Path) -> None:
    """PLY and SPZ through the reader of PlayCanvas and back as PLY are the same Gaussians."""
    gaussians = some_gaussians(16, 40)
    save_gaussians(tmp_path / "ours.ply", gaussians)
    splat_transform(tmp_path / "ours.ply", tmp_path / "theirs.ply")
    assert_equal_sets(load_gaussians(tmp_path / "theirs.ply"), gaussians, 1e-5)
    save_spz(tmp_path / "ours.spz", gaussians)
    splat_transform(tmp_path / "ours.spz", tmp_path / "from_spz.ply")
    assert_equal_sets(load_gaussians(tmp_path / "from_spz.ply"), load_spz(tmp_path / "ours.spz"), 2e-4)


def test_we_read_what_splat_transform_writes(tmp_path: Path) -> None:
    gaussians = some_gaussians(16, 40)
    save_gaussians(tmp_path / "ours.ply", gaussians)
    splat_transform("--spz-version", "3", tmp_path / "ours.ply", tmp_path / "theirs.spz")
    read = load_spz(tmp_path / "theirs.spz")
    assert (read.means - gaussians.means).abs().max() < 2.0**-12
    assert_same_rotations(read.rotations, gaussians.rotations, 1e-5)
    # They keep five and four bits of the higher harmonics.
    assert (read.harmonics - gaussians.harmonics)[:, :, 1:].abs().max() <= 1 / 16 + 1 / 128
    splat_transform(tmp_path / "ours.ply", tmp_path / "theirs.glb")
    # Their byte colours are for readers without the extension; ours do not look at them.
    rename_attributes(tmp_path / "theirs.glb", lambda name: None if name == "COLOR_0" else name)
    turned = load_gaussians_glb(tmp_path / "theirs.glb")
    torch.testing.assert_close(turned.scales, gaussians.scales, rtol=1e-5, atol=0)
    torch.testing.assert_close(turned.opacities, gaussians.opacities, rtol=1e-5, atol=1e-6)
    # They turn half around z where we turn around x: half a turn around y lies between.
    between = gaussians.means.new_tensor([-1.0, 1.0, -1.0])
    torch.testing.assert_close(turned.means * between, gaussians.means, rtol=1e-5, atol=1e-6)
    spin = torch.diag(between.double())
    torch.testing.assert_close(spin @ covariances(turned) @ spin, covariances(gaussians), rtol=1e-4, atol=1e-8)


def test_the_khronos_validator_finds_nothing_wrong(tmp_path: Path) -> None:
    confidence = 1 + torch.rand(20)
    save_point_cloud_glb(tmp_path / "points.glb", torch.randn(20, 3), torch.rand(20, 3), confidence)
    issues = gltf_issues(tmp_path / "points.glb")
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    save_gaussians_glb(tmp_path / "gaussians.glb", some_gaussians(16))
    issues = gltf_issues(tmp_path / "gaussians.glb")
    # A validator that does not know the ratified extension objects to the names that it prescribes, and to nothing else.
    names = [m for m in issues["messages"] if m["code"] == "MESH_PRIMITIVE_INVALID_ATTRIBUTE"]
    assert all("/attributes/KHR_gaussian_splatting:" in message["pointer"] for message in names)
    others = [m for m in issues["messages"] if m not in names]
    assert {message["code"] for message in others} <= {"UNSUPPORTED_EXTENSION"}
    # Under names that are free to everybody, even those are fine.
    rename_attributes(tmp_path / "gaussians.glb", lambda name: name.replace("KHR_gaussian_splatting:", "_"))
    issues = gltf_issues(tmp_path / "gaussians.glb")
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    spz, glb = tmp_path / "a.spz", tmp_path / "a.glb"
    spz.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="not a readable SPZ"):
        load_spz(spz)
    spz.write_bytes(gzip.compress(b"short"))
    with pytest.raises(ValueError, match="ends inside the header"):
        load_spz(spz)
    spz.write_bytes(gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 3, 2**31, 0, 12, 0, 0)))
    with pytest.raises(ValueError, match="2147483648 Gaussians; allowed"):
        load_spz(spz)
    save_spz(spz, some_gaussians(4))
    spz.write_bytes(gzip.compress(gzip.decompress(spz.read_bytes())[:-1]))
    with pytest.raises(ValueError, match="damaged"):
        load_spz(spz)
    save_gaussians_glb(glb, some_gaussians(4))
    glb.write_bytes(glb.read_bytes()[:-4])
    with pytest.raises(ValueError, match="not a GLB of points"):
        load_gaussians_glb(glb)
    save_point_cloud_glb(glb, torch.rand(3, 3), torch.rand(3, 3))
    with pytest.raises(ValueError, match="holds no Gaussians, only COLOR_0, POSITION"):
        load_gaussians_glb(glb)
    far = replace(some_gaussians(1), means=torch.full((1, 30, 3), 1e8))
    with pytest.raises(ValueError, match="too far out for SPZ"):
        save_spz(tmp_path / "far.spz", far)


def rename_attributes(path: Path, new_name: Callable[[str], str | None]) -> None:
    """Rewrite the document of a GLB; None drops the attribute."""
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + size])
    primitive = document["meshes"][0]["primitives"][0]
    primitive["attributes"] = {new_name(k): v for k, v in primitive["attributes"].items() if new_name(k) is not None}
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + size :]
    head = struct.pack("<IIIII", 0x46546C67, 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A)
    path.write_bytes(head + text + rest)


def assert_equal_sets(a: Gaussians, b: Gaussians, tolerance: float) -> None:
    """Every property, whatever the order and the sign of the quaternions."""
    order_a, order_b = (torch.argsort(g.means[0, :, 0]) for g in (a, b))
    a, b = a.select(0, order_a), b.select(0, order_b)
    for name in ("means", "scales", "opacities", "harmonics"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=10 * tolerance, atol=tolerance)
    assert_same_rotations(a.rotations, b.rotations, tolerance)


def scene_in_view(bands: int) -> Gaussians:
    """A few hundred Gaussians in front of :func:`a_camera`."""
    g = some_gaussians(bands, 300)
    return replace(
        g, means=0.5 * g.means + torch.tensor([0.0, 0.0, 3.0]), scales=2 * g.scales, harmonics=0.5 * g.harmonics
    )


def a_camera() -> Cameras:
    """One view [1, 1] from the origin."""
    intrinsics = torch.tensor([[50.0, 0, 24], [0, 50, 24], [0, 0, 1]])
    return Cameras(torch.eye(4)[None, None], intrinsics[None, None])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("with_confidence", [False, True])
def test_chunks_of_a_glb_are_laid_out_as_the_specification_says(
    tmp_path: Path, count: int, with_confidence: bool
) -> None:
    """Section 4.4 of glTF 2.0, read by hand: lengths in fours, spaces behind the text, no byte that no view owns."""
    save_point_cloud_glb(
        tmp_path / "a.glb", torch.rand(count, 3), torch.rand(count, 3), torch.ones(count) if with_confidence else None
    )
    data = (tmp_path / "a.glb").read_bytes()
    assert data[:4] == b"glTF" and struct.unpack_from("<II", data, 4) == (2, len(data))
    text_size = struct.unpack_from("<I", data, 12)[0]
    assert data[16:20] == b"JSON" and text_size % 4 == 0
    document = json.loads(data[20 : 20 + text_size])
    size = struct.unpack_from("<I", data, 20 + text_size)[0]
    assert data[24 + text_size : 28 + text_size] == b"BIN\0" and size % 4 == 0
    assert 28 + text_size + size == len(data)
    assert document["buffers"] == [{"byteLength": size}]
    end = 0
    for view in document["bufferViews"]:
        assert view["byteOffset"] == end and end % 4 == 0
        end += view["byteLength"]
    # Points and, where there is one, confidence as float32; four numbers of 16 bits for a color.
    assert end == size == count * (12 + 8 + 4 * with_confidence)
