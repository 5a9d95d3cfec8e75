"""The first value past a border is refused in a sentence that names it, and the last one within it is written and read."""

from __future__ import annotations

import gzip
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_cases import some_gaussians
from PIL import Image
from plyfile import PlyData, PlyElement

from vist3a.export.cameras import load_cameras, save_cameras
from vist3a.export.colmap import load_colmap, save_colmap
from vist3a.export.depth import load_depth_png, save_depth_png
from vist3a.export.gltf import load_point_cloud_glb, save_gaussians_glb, save_point_cloud_glb
from vist3a.export.ply import check_writable, filtered_points, load_gaussians, save_gaussians
from vist3a.export.spz import _unpack_rotations, load_spz, save_spz
from vist3a.export.thinning import fuse_points, prune
from vist3a.export.video import image_sheet
from vist3a.records import Cameras

LENS = {"fl_x": 10.5, "fl_y": 11.25, "cx": 4.5, "cy": 3.75, "w": 8, "h": 6}


def frame(name: str = "a.png", **values: float) -> dict[str, Any]:
    return {"file_path": name, "transform_matrix": torch.eye(4).tolist(), **values}


def written(path: Path, **document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("scale", [0, 0.0, -1e-9, float("nan"), float("inf"), "1", None, [1]])
def test_a_depth_picture_needs_a_positive_scale(tmp_path: Path, scale: object) -> None:
    save_depth_png(tmp_path / "a.png", torch.ones(2, 3))
    written(tmp_path / "a.json", scale=scale)
    with pytest.raises(ValueError, match=r"a\.json: 'scale' must be a positive number, not"):
        load_depth_png(tmp_path / "a.png")
    written(tmp_path / "a.json", scale=1)
    assert load_depth_png(tmp_path / "a.png").tolist() == [[65535.0] * 3] * 2


@pytest.mark.parametrize("pixels", [np.zeros((3, 4), np.uint8), np.zeros((3, 4, 3), np.uint8)])
def test_pictures_of_eight_bits_or_of_colors_are_no_depth(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    written(tmp_path / "a.json", scale=0.5)
    with pytest.raises(ValueError, match="is not a 16-bit grey PNG"):
        load_depth_png(tmp_path / "a.png")


def test_levels_of_a_depth_picture_are_the_nearest_ones(tmp_path: Path) -> None:
    depth = torch.tensor([[65535.0, 0.2, 1.4, 1.6], [700.49, 0.0, -3.0, torch.nan]])
    assert save_depth_png(tmp_path / "a.png", depth) == 1.0
    # What is known never becomes the level of what is unknown.
    assert np.array(Image.open(tmp_path / "a.png")).tolist() == [[65535, 1, 1, 2], [700, 0, 0, 0]]
    assert save_depth_png(tmp_path / "b.png", torch.full((2, 3), torch.nan)) == 1.0


@pytest.mark.parametrize("key", ["k1", "k2", "k3", "k4", "p1", "p2"])
@pytest.mark.parametrize("in_frame", [False, True])
def test_every_kind_of_distortion_is_refused_wherever_it_stands(tmp_path: Path, key: str, in_frame: bool) -> None:
    last = frame("b.png", **{key: 0.01}) if in_frame else frame("b.png")
    path = written(tmp_path / "t.json", **LENS, **({} if in_frame else {key: 0.01}), frames=[frame(), last])
    with pytest.raises(ValueError, match=rf"lens distortion \({key}\)"):
        load_cameras(path)
    written(path, **LENS, **{key: 0.0}, frames=[frame()])
    assert load_cameras(path)[2] == ["a.png"]


def test_a_camera_file_needs_frames_and_every_number_once(tmp_path: Path) -> None:
    for document in ({}, {"frames": []}):
        with pytest.raises(ValueError, match=r"t\.json lists no frames"):
            load_cameras(written(tmp_path / "t.json", **LENS, **document))
    # A frame's own number counts before that of all, and needs none there.
    path = written(
        tmp_path / "t.json", **{k: v for k, v in LENS.items() if k != "cy"}, frames=[frame(cy=2.5, fl_x=9.5)]
    )
    cameras, size, _ = load_cameras(path)
    assert cameras.intrinsics[0].tolist() == [[9.5, 0, 4.5], [0, 11.25, 2.5], [0, 0, 1]] and size == (6, 8)
    assert cameras.world_to_camera.dtype == torch.float32


@pytest.mark.parametrize("shape", [(), (1, 2)])
def test_cameras_are_written_with_one_axis_of_views(tmp_path: Path, shape: tuple[int, ...]) -> None:
    cameras = Cameras(torch.eye(4).expand(*shape, 4, 4), torch.eye(3).expand(*shape, 3, 3))
    with pytest.raises(ValueError, match=rf"have one batch axis \(views\), not {len(shape)}"):
        save_cameras(tmp_path / "t.json", cameras, (6, 8))
    with pytest.raises(ValueError, match="1 file names for cameras of shape"):
        save_colmap(tmp_path, cameras, (6, 8), ["a.png"])


def test_the_file_of_points_is_named_where_there_is_one(tmp_path: Path) -> None:
    cameras = Cameras(torch.eye(4)[None], torch.eye(3)[None])
    for points in (None, "points.ply"):
        save_cameras(tmp_path / "t.json", cameras, (6, 8), points=points)
        document = json.loads((tmp_path / "t.json").read_text())
        assert document.get("ply_file_path") == points and document["camera_model"] == "PINHOLE"
        assert document["applied_transform"] == torch.eye(4)[:3].tolist()


def test_points_of_colmap_come_with_colors_within_bytes(tmp_path: Path) -> None:
    cameras = Cameras(torch.eye(4)[None], torch.eye(3)[None])
    for cloud in ((torch.zeros(1, 3), None), (None, torch.zeros(1, 3))):
        with pytest.raises(ValueError, match="points and colours come together"):
            save_colmap(tmp_path, cameras, (6, 8), ["a.png"], *cloud)
    save_colmap(tmp_path, cameras, (6, 8), ["a.png"], torch.ones(2, 3), torch.tensor([[-1.0, 0.25, 2.0], [0, 1, 0.5]]))
    rows = (tmp_path / "points3D.txt").read_text().splitlines()
    assert rows[1:] == ["1 1 1 1 0 64 255 0", "2 1 1 1 0 255 128 0"]
    for name in ("", "a\tb.png"):
        with pytest.raises(ValueError, match="file names of COLMAP have no blanks"):
            save_colmap(tmp_path, cameras, (6, 8), [name])


def test_colmap_models_of_others_are_read(tmp_path: Path) -> None:
    """One focal length for both axes, images out of order, names with blanks, quaternions of any length; not two sizes."""
    (tmp_path / "cameras.txt").write_text("# head\n7 SIMPLE_PINHOLE 8 6 10 4 3\n2 PINHOLE 8 6 11 12 4.5 3.5\n\n")
    (tmp_path / "images.txt").write_text("# head\n5 2 0 0 0 1 2 3 7 b c.png\n0.5 0.5 -1\n3 0 0 3 0 4 5 6 2 a.png\n\n")
    cameras, size, names = load_colmap(tmp_path)
    assert names == ["a.png", "b c.png"] and size == (6, 8)
    assert cameras.intrinsics.tolist() == [
        [[11, 0, 4.5], [0, 12, 3.5], [0, 0, 1]],
        [[10, 0, 4], [0, 10, 3], [0, 0, 1]],
    ]
    assert cameras.world_to_camera.tolist() == [
        [[-1, 0, 0, 4], [0, 1, 0, 5], [0, 0, -1, 6], [0, 0, 0, 1]],
        [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]],
    ]
    (tmp_path / "images.txt").write_text("# head\n")
    with pytest.raises(ValueError, match=r"images\.txt lists no images"):
        load_colmap(tmp_path)
    for text, count in (("7 PINHOLE 8 6 1 1 4 3\n2 PINHOLE 9 6 1 1 4 3\n", 2), ("", 0)):
        (tmp_path / "cameras.txt").write_text(text)
        with pytest.raises(ValueError, match=f"{count} image sizes; allowed: one"):
            load_colmap(tmp_path)


def test_shares_of_points_are_counted_from_the_lowest_confidence() -> None:
    points, trust = torch.arange(30.0).view(10, 3), torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=rf"must lie in \[0, 1\), not {share}"):
            filtered_points(points, points, trust, None, share)
    with pytest.raises(ValueError, match="only when a confidence is given"):
        filtered_points(points, points, None, 0.0)
    assert len(filtered_points(points, points, None, None, 0.0)[0]) == 10
    # Ties go in their order, parts of a point are not dropped, and the border itself is kept.
    kept = filtered_points(points, points - 7, trust, 3.0, 0.49)
    assert kept[0][:, 0].tolist() == [6, 12, 15, 21, 24, 27] and kept[2] is not None
    assert kept[2].tolist() == [4, 5, 9, 6, 5, 3]
    assert kept[1].tolist() == [[0, 0, 1], *([1, 1, 1] for _ in range(5))]
    assert filtered_points(points, points, trust, 2.0, 0.0)[0][:, 0].tolist() == [0, 6, 12, 15, 18, 21, 24, 27]
    broken = points.clone()
    broken[2, 1] = torch.inf
    assert filtered_points(broken, points - 1, None)[1][:, 1].tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 1]


def test_a_table_of_gaussians_needs_whole_channels_and_a_known_degree(tmp_path: Path) -> None:
    save_gaussians(tmp_path / "a.ply", some_gaussians(4))
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    columns = {p.name: np.asarray(vertex[p.name]) for p in vertex.properties}
    cases = {"8 properties f_rest_": ("f_rest_8",), "16 or 25 bands, not 3": ("f_rest_6", "f_rest_7", "f_rest_8")}
    for sentence, lacking in {**cases, "properties rot_3, x are missing": ("x", "rot_3")}.items():
        left = {name: column for name, column in columns.items() if name not in lacking}
        table = np.empty(vertex.count, dtype=[(name, "<f4") for name in left])
        for name, column in left.items():
            table[name] = column
        PlyData([PlyElement.describe(table, "vertex")]).write(str(tmp_path / "b.ply"))
        with pytest.raises(ValueError, match=sentence):
            load_gaussians(tmp_path / "b.ply")


def test_gaussians_are_written_in_single_precision_with_unit_quaternions(tmp_path: Path) -> None:
    g = some_gaussians(1, 3)
    none = replace(g, scales=0 * g.scales, rotations=0 * g.rotations)
    save_spz(tmp_path / "a.spz", none)
    read = load_spz(tmp_path / "a.spz")
    assert read.rotations[0, :, 0].tolist() == [1, 1, 1]
    torch.testing.assert_close(read.scales, torch.full_like(g.scales, -10.0).exp())
    stretched = replace(g, rotations=g.rotations * torch.tensor([5.0, 1e-3, 1e-20])[None, :, None])
    made = check_writable(tmp_path / "a.ply", stretched.to(dtype=torch.float64))
    assert made.means.dtype == torch.float32
    torch.testing.assert_close(made.rotations, g.rotations)
    with pytest.raises(ValueError, match=r"^PLY files hold one set of Gaussians, not 0"):
        check_writable(tmp_path / "a.ply", g[0:0])


@pytest.mark.parametrize(
    ("farthest", "bits"), [(1e-3, 16), (127.9, 16), (128.0, 15), (4.0e6, 1), (2.0**22 + 1, 0), (2.0**23 - 1, 0)]
)
def test_spz_keeps_as_many_bits_as_the_farthest_mean_leaves(tmp_path: Path, farthest: float, bits: int) -> None:
    """Of 24 with sign; the file is decoded by hand."""
    gaussians = some_gaussians(1, 4)
    means = gaussians.means / gaussians.means.abs().max() * 0.4 * farthest
    means[0, 2, 1] = -farthest
    save_spz(tmp_path / "a.spz", replace(gaussians, means=means))
    data = gzip.decompress((tmp_path / "a.spz").read_bytes())
    assert struct.unpack_from("<IIIBBBB", data) == (0x5053474E, 3, 4, 0, bits, 0, 0)
    places = [int.from_bytes(data[16 + 3 * i : 19 + 3 * i], "little", signed=True) / 2**bits for i in range(12)]
    # y and z the other way round.
    expected = (means[0].double() * torch.tensor([1.0, -1, -1])).flatten().tolist()
    assert max(abs(a - b) for a, b in zip(places, expected, strict=True)) <= 0.5 / 2**bits
    torch.testing.assert_close(
        load_spz(tmp_path / "a.spz").means.double(), means.double(), rtol=1e-6, atol=0.5001 / 2**bits
    )


def test_spz_refuses_what_lies_outside_and_heads_of_others(tmp_path: Path) -> None:
    gaussians = some_gaussians(4, 3)
    path = tmp_path / "a.spz"
    with pytest.raises(ValueError, match=r"at 8\.38861e\+06 is too far out for SPZ"):
        save_spz(path, replace(gaussians, means=torch.full((1, 3, 3), 2.0**23)))
    save_spz(path, gaussians)
    data = gzip.decompress(path.read_bytes())
    for place, value in ((0, 0x4F), (4, 2), (4, 4), (12, 4)):
        changed = bytearray(data)
        changed[place] = value
        path.write_bytes(gzip.compress(bytes(changed)))
        with pytest.raises(ValueError, match="allowed: 0x5053474e, 3, 0 to 3, 10000000"):
            load_spz(path)
    for count, sentence in ((10_000_001, "10000001 Gaussians; allowed"), (10_000_000, "the file is damaged")):
        path.write_bytes(gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 3, count, 0, 12, 0, 0)))
        with pytest.raises(ValueError, match=sentence):
            load_spz(path)
    for wrong in (data + b"\0", data[:-1]):
        path.write_bytes(gzip.compress(wrong))
        with pytest.raises(ValueError, match="the file is damaged"):
            load_spz(path)
    path.write_bytes(gzip.compress(data[:15]))
    with pytest.raises(ValueError, match="ends inside the header"):
        load_spz(path)


def test_spz_rotations_that_round_to_more_than_one_have_nothing_left() -> None:
    """Three components at their largest: the fourth, which follows from the length, is none."""
    packed = np.array([(3 << 30) | (511 << 20) | (511 << 10) | 511], dtype="<u4")
    w, *others = _unpack_rotations(packed)[0].tolist()
    assert w == 0 and others == pytest.approx([2**-0.5] * 3)


def test_spz_of_nothing_is_a_head_alone(tmp_path: Path) -> None:
    save_spz(tmp_path / "a.spz", some_gaussians(4, 3).select(0, torch.arange(0)))
    assert gzip.decompress((tmp_path / "a.spz").read_bytes()) == struct.pack("<IIIBBBB", 0x5053474E, 3, 0, 1, 16, 0, 0)
    assert load_spz(tmp_path / "a.spz").harmonics.shape == (1, 0, 4, 3)


def test_glb_has_no_empty_clouds_and_colors_are_linear(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no point is left"):
        save_point_cloud_glb(tmp_path / "a.glb", torch.full((2, 3), torch.nan), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="no empty sets"):
        save_gaussians_glb(tmp_path / "a.glb", some_gaussians(1, 3).select(0, torch.arange(0)))
    assert not list(tmp_path.iterdir())
    values = torch.tensor([[0.0, 0.02, 0.04], [0.041, 0.2, 0.5], [0.8, 1.0, 0.0405]])
    save_point_cloud_glb(tmp_path / "a.glb", torch.ones(3, 3), values)
    # IEC 61966-2-1 by hand.
    linear = [[v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in row] for row in values.tolist()]
    data = (tmp_path / "a.glb").read_bytes()
    start = 20 + struct.unpack_from("<I", data, 12)[0] + 8 + 36
    stored = np.frombuffer(data[start : start + 24], "<u2").reshape(3, 4) / 65535
    np.testing.assert_allclose(stored[:, :3], linear, atol=0.51 / 65535)
    assert (stored[:, 3] == 1).all()
    torch.testing.assert_close(load_point_cloud_glb(tmp_path / "a.glb")[1], values, atol=1e-4, rtol=0)
    save_gaussians_glb(tmp_path / "b.glb", some_gaussians(1, 3))
    (tmp_path / "b.glb").write_bytes((tmp_path / "b.glb").read_bytes().replace(b"COLOR_0", b"_OLOR_0"))
    with pytest.raises(ValueError, match="holds no coloured points, only KHR_gaussian_splatting:OPACITY"):
        load_point_cloud_glb(tmp_path / "b.glb")


def test_budgets_and_voxels_start_at_one_and_above_nothing() -> None:
    gaussians = some_gaussians(1, 4)
    for budget in (0, -1):
        with pytest.raises(ValueError, match=f"at least 1, not {budget}"):
            prune(gaussians, max_gaussians=budget)
    assert prune(gaussians, max_gaussians=1).means.shape[1] == 1
    for size in (0.0, -1.0):
        with pytest.raises(ValueError, match=f"must be positive, not {size}"):
            fuse_points(torch.ones(1, 3), torch.ones(1, 3), torch.ones(1), size)


def test_sheets_need_a_column_and_a_picture() -> None:
    for count, columns in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match=f"needs images and columns, not {count} and {columns}"):
            image_sheet(torch.zeros(count, 3, 2, 2), columns)
    assert image_sheet(torch.zeros(3, 3, 4, 6), 1).shape == (3, 3 * 4 + 2 * 2, 6)
    assert image_sheet(torch.zeros(2, 3, 4, 6), 2).shape == (3, 4, 2 * 6 + 2)
