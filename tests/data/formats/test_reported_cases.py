"""Scenes as people have them, each after a public report: what they rightly expect, through the scan and the curation."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import dataset_layouts as layouts
import numpy as np
import pandas as pd
import pytest
import torch
from dataset_layouts import HEIGHT, VIEWS, WIDTH, Truth, colmap_numbers
from PIL import Image

from vist3a.data.checks import Limits
from vist3a.data.clip_store import ClipStore
from vist3a.data.curation import gather_folder
from vist3a.data.formats import nerfstudio
from vist3a.data.formats.depth_map import DepthFile
from vist3a.data.formats.lens import Lens
from vist3a.data.formats.posed import PosedScene
from vist3a.data.rejected import RejectedError
from vist3a.data.sampling import choose_views
from vist3a.records.clip_shape import ClipShape

LIMITS = Limits(min_sharpness=0.0, min_relative_sharpness=0.0, min_difference=0.0, min_motion=0.0)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth()


def gather(folder: Path, out: Path):
    """Clips by name, and the sentences."""
    out.mkdir(exist_ok=True)
    gathered = gather_folder(folder, out, ClipShape(frames=5, height=64, width=64), LIMITS)
    store = ClipStore(out, pd.DataFrame([{**row, "split": "fit"} for row in gathered.rows]))
    return {str(row["name"]): store.load(str(row["name"])) for row in gathered.rows}, [r for _, r in gathered.rejected]


def document(folder: Path, truth: Truth) -> dict:
    return layouts.write_nerfstudio(folder, truth)


def rewrite(folder: Path, content: dict, encoding: str = "utf-8") -> None:
    (folder / "transforms.json").write_text(json.dumps(content), encoding=encoding)


def poses(scene: Path, load=nerfstudio.load) -> dict[str, torch.Tensor]:
    content = PosedScene(scene, load).content
    assert content.dropped == ()
    return {view.image.name: view.world_to_camera for view in content.views}


def assert_poses(found: dict[str, torch.Tensor], truth: Truth, ending: str = ".png") -> None:
    assert len(found) == VIEWS
    for i in range(VIEWS):
        torch.testing.assert_close(found[f"frame_{i + 7}{ending}"], truth.cameras.world_to_camera[i], atol=1e-6, rtol=0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path, truth, encoding):
    rewrite(tmp_path, document(tmp_path, truth), encoding)
    assert_poses(poses(tmp_path), truth)


def test_paths_of_windows(tmp_path, truth):
    content = document(tmp_path, truth)
    for entry in content["frames"]:
        entry["file_path"] = ".\\" + entry["file_path"].replace("/", "\\")
    rewrite(tmp_path, content)
    assert_poses(poses(tmp_path), truth)


@pytest.mark.parametrize(
    "name", ["../x.png", "images/../../x.png", "/etc/x.png", "..\\x.png", "C:\\data\\x.png", "C:x.png", "images/..", ""]
)
def test_names_do_not_lead_out(tmp_path, truth, name):
    content = document(tmp_path / "scene", truth)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "x.png")
    content["frames"].append({**content["frames"][0], "file_path": name})
    rewrite(tmp_path / "scene", content)
    (sentence,) = PosedScene(tmp_path / "scene", nerfstudio.load).content.dropped
    assert "leaves the folder" in sentence or "file_path is missing or no path" in sentence


def test_absolute_names_inside_the_folder_are_read(tmp_path, truth):
    content = document(tmp_path, truth)
    for entry in content["frames"]:
        entry["file_path"] = str(tmp_path / entry["file_path"])
    rewrite(tmp_path, content)
    assert_poses(poses(tmp_path), truth)


def test_links_into_a_cache_are_followed(tmp_path, truth):
    """As hubs lay out what they have fetched: every file is a link to a blob, named by its hash."""
    scene, blobs = tmp_path / "hub" / "snapshots" / "abc" / "scene", tmp_path / "hub" / "blobs"
    document(scene, truth)
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in scene.rglob("*") if path.is_file())):
        path.rename(blobs / f"{number:04x}")
        path.symlink_to(blobs / f"{number:04x}")
    assert_poses(poses(scene), truth)
    clips, sentences = gather(tmp_path / "hub", tmp_path / "out")
    assert list(clips) == ["snapshots-abc-scene"] and sentences == []


@pytest.mark.parametrize("ending", [".jpg", ".JPG", ".jpeg", ".png", ".webp"])
def test_names_without_an_ending(tmp_path, truth, ending):
    content = document(tmp_path, truth)
    for entry in content["frames"]:
        picture = tmp_path / entry["file_path"]
        Image.open(picture).save(picture.with_suffix(ending))
        if ending != ".png":
            picture.unlink()
        entry["file_path"] = "./" + entry["file_path"].removesuffix(".png")
    rewrite(tmp_path, content)
    assert_poses(poses(tmp_path), truth, ending)


def test_cameras_in_metres_of_a_map_keep_their_steps(tmp_path, truth):
    """float32 has steps of 0.5 at five million."""
    content = document(tmp_path / "data", truth)
    for entry in content["frames"]:
        for axis, offset in enumerate((448262.4, 5411944.2, 120.0)):
            entry["transform_matrix"][axis][3] += offset
    rewrite(tmp_path / "data", content)
    ((_, clip),) = gather(tmp_path / "data", tmp_path / "out")[0].items()
    chosen = choose_views(VIEWS, 5, LIMITS.max_stride)[0]
    wanted = truth.cameras.centers[chosen].diff(dim=0).float()
    torch.testing.assert_close(clip.cameras.centers.diff(dim=0), wanted, atol=1e-5, rtol=0)
    assert float(clip.cameras.centers.abs().max()) < 100


def test_cameras_near_the_origin_stay_where_they_are(tmp_path, truth):
    document(tmp_path, truth)
    scene = PosedScene(tmp_path, nerfstudio.load)
    cameras = scene.cameras(list(range(VIEWS)), 64, 64)
    torch.testing.assert_close(cameras.world_to_camera, truth.cameras.world_to_camera.float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"w": 0, "h": 0}, "0x0 pixels; positive sizes are needed"),
        ({"w": -96, "h": -72}, "positive sizes are needed"),
        ({"w": 96.5}, "w is 96.5; a whole number"),
        ({"w": 10**400}, "w is a number of 401 digits"),
        ({"w": float("inf")}, "w has inf; finite"),
        ({"fl_x": float("nan")}, "fx = nan; finite numbers are needed"),
        ({"fl_y": float("inf")}, "fy = inf; finite numbers are needed"),
        ({"k1": float("nan")}, "distortion 1 = nan"),
        ({"fl_x": "64.7"}, "fl_x is '64.7'; a number is needed"),
        ({"fl_x": None}, "fl_x is None; a number is needed"),
        ({"fl_x": 1e-9}, "0.05 to 50 widths"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model EQUIRECTANGULAR; allowed are OPENCV"),
        ({"camera_model": ["OPENCV"]}, "allowed are OPENCV"),
        ({"camera_model": "PINHOLE", "is_fisheye": True}, "PINHOLE is no fisheye lens, but is_fisheye is true"),
        ({"is_fisheye": "yes"}, "is_fisheye is yes; true or false"),
        ({"k4": 0.01}, "k4 is 0.01; of this lens only k1, k2, p1, p2, k3 are known"),
        (
            {"is_fisheye": True, "camera_model": "OPENCV_FISHEYE", "p1": 0.01},
            "p1 is 0.01; of this lens only k1, k2, k3, k4",
        ),
        ({"ftheta_p0": 0.3}, "ftheta_p0 belongs to a lens that is not read"),
    ],
)
def test_one_bad_scene_does_not_end_the_run(tmp_path, truth, changes, words):
    document(tmp_path / "data" / "good", truth)
    content = document(tmp_path / "data" / "bad", truth)
    rewrite(tmp_path / "data" / "bad", {**content, **changes})
    clips, (sentence,) = gather(tmp_path / "data", tmp_path / "out")
    assert list(clips) == ["good"]
    assert sentence.startswith("bad: no usable view (") and words in sentence and sentence.endswith("; and 6 more)")


def test_what_nobody_foresaw_costs_one_scene(tmp_path, truth, monkeypatch):
    """The last net: a reader that fails in a way of its own."""
    from vist3a.data import sources

    def load(folder):
        return nerfstudio.load(folder) if folder.name == "good" else 1 // 0

    monkeypatch.setattr(sources, "FORMATS", ((nerfstudio.is_scene, load),))
    for name in ("bad", "good"):
        document(tmp_path / "data" / name, truth)
    clips, sentences = gather(tmp_path / "data", tmp_path / "out")
    assert list(clips) == ["good"]
    assert sentences == [
        "bad: it cannot be read (ZeroDivisionError: integer division or modulo by zero); a whole clip is needed"
    ]


def test_a_scene_of_too_few_views_says_why_the_others_are_gone(tmp_path, truth):
    document(tmp_path / "data" / "good", truth)
    content = document(tmp_path / "data" / "bad", truth)
    for entry in content["frames"][:3]:
        entry["transform_matrix"][0][0] = float("nan")
    rewrite(tmp_path / "data" / "bad", content)
    _, sentences = gather(tmp_path / "data", tmp_path / "out")
    assert sum("the pose is not finite" in sentence for sentence in sentences) == 3
    assert sum("4 frames found; at least 5 are needed" in sentence for sentence in sentences) == 1


def test_is_fisheye_is_the_fisheye_lens(tmp_path, truth):
    lenses = []
    for lens in (
        {"is_fisheye": True},
        {"camera_model": "OPENCV_FISHEYE"},
        {"is_fisheye": True, "camera_model": "OPENCV_FISHEYE"},
    ):
        content = document(tmp_path, truth)
        content.pop("camera_model")
        rewrite(tmp_path, {**content, **lens, "k1": -0.08, "k2": 0.02, "fisheye_crop_radius": 40.0})
        lenses.append(PosedScene(tmp_path, nerfstudio.load).content.views[0].lens)
    # At 45 degrees the equidistant lens shows pi / 4 (1 + k1 (pi/4)^2 + k2 (pi/4)^4) focal lengths from the middle.
    a = np.pi / 4
    for lens in lenses:
        seen = lens.distorted(torch.tensor([[1.0, 0.0]], dtype=torch.float64))[0, 0].item()
        assert seen == pytest.approx(a * (1 - 0.08 * a**2 + 0.02 * a**4), abs=1e-12)


def test_both_angles_of_view_count(tmp_path, truth):
    content = {k: v for k, v in document(tmp_path, truth).items() if k not in ("fl_x", "fl_y")}
    rewrite(tmp_path, {**content, "camera_angle_x": 1.2, "camera_angle_y": 0.7})
    lens = PosedScene(tmp_path, nerfstudio.load).content.views[0].lens
    assert (lens.fx, lens.fy) == pytest.approx((WIDTH / 2 / np.tan(0.6), HEIGHT / 2 / np.tan(0.35)), abs=1e-9)


def test_keys_that_stand_twice_are_not_chosen_from(tmp_path, truth):
    document(tmp_path, truth)
    text = (tmp_path / "transforms.json").read_text()
    (tmp_path / "transforms.json").write_text(text.replace('"fl_x"', '"fl_x": 1.0, "fl_x"', 1))
    with pytest.raises(RejectedError, match="the key fl_x stands twice"):
        _ = PosedScene(tmp_path, nerfstudio.load).content


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_text_of_cameras_is_known_in_any_encoding(tmp_path, truth, encoding):
    from vist3a.data.formats import realestate10k

    path = tmp_path / "data" / "0a1b.txt"
    stamps = [(i + 1) * 66733 for i in range(VIEWS)]
    layouts.write_realestate(path, truth, stamps)
    path.write_text(path.read_text().replace("\n", "\r\n"), encoding=encoding)
    for i, stamp in enumerate(stamps):
        truth.picture(path.with_suffix("") / f"{stamp}.png", i)
    assert realestate10k.is_camera_text(path)
    clips, sentences = gather(tmp_path / "data", tmp_path / "out")
    assert [clip.cameras is not None for clip in clips.values()] == [True] and sentences == []


# Depth in the containers that people use.


def save_depth(path: Path, depth: np.ndarray, kind: str) -> None:
    path.parent.mkdir(exist_ok=True)
    values = depth.astype(np.float32)
    if kind in ("npy", "npy half", "npy column"):
        np.save(path, {"npy": values, "npy half": values.astype(np.float16), "npy column": values[..., None]}[kind])
    elif kind == "npz":
        np.savez_compressed(path, depth=values, confidence=values)
    elif kind == "npz one":
        np.savez(path, whatever=values.astype(np.float64))
    elif kind == "tiff":
        Image.fromarray(values).save(path)
    elif kind == "exr":
        import av

        with av.open(str(path), "w", format="image2") as opened:
            stream = opened.add_stream("exr", rate=1)
            stream.width, stream.height, stream.pix_fmt = values.shape[1], values.shape[0], "grayf32le"
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="grayf32le")))
            opened.mux(stream.encode())


KINDS = [
    ("npy", "npy"), ("npy half", "npy"), ("npy column", "npy"), ("npz", "npz"), ("npz one", "npz"), ("tiff", "tiff"),
    ("tiff", "tif"), ("exr", "exr"),
]  # fmt: skip


@pytest.mark.parametrize("unit", [1.0, 0.25])
@pytest.mark.parametrize(("kind", "ending"), KINDS)
def test_depth_in_floats(tmp_path, truth, kind, ending, unit):
    """In metres and in another unit; NaN, infinity, zero and less are no measurement."""
    folder = tmp_path / "data"
    content = document(folder, truth)
    for i in range(VIEWS):
        depth = truth.depth[i].numpy() / unit
        depth[:6, 30:36] = [float("nan"), float("inf"), -float("inf"), 0.0, -1.0, float("nan")]
        save_depth(folder / "depth" / f"{i}.{ending}", depth, kind)
    for entry in content["frames"]:
        number = int(entry["file_path"].split("_")[1].split(".")[0]) - 7
        entry["depth_file_path"] = f"depth/{number}.{ending}"
    rewrite(folder, {**content, "depth_unit_scale_factor": unit})
    scene = PosedScene(folder, nerfstudio.load)
    found = scene.depth(list(range(VIEWS)), HEIGHT, WIDTH)
    known = torch.isfinite(truth.depth) & (truth.depth > 0)
    known[:, :6, 30:36] = False
    relative = 1e-3 if kind == "npy half" else 1e-6
    torch.testing.assert_close(found[known], truth.depth[known], rtol=relative, atol=0)
    assert (found[:, :6, 30:36] == 0).all()
    assert scene.content.dropped == ()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("0.npy", None, "depth 0.npy is missing"),
        ("0.npy", b"", "0.npy is damaged or cut short; a whole array is needed"),
        ("0.npz", b"PK\x03\x04", "0.npz is damaged or cut short; a whole array is needed"),
        ("0.tiff", b"II*\0", "0.tiff is damaged or cut short; a whole picture is needed"),
        ("0.exr", b"v/1\x01", "depth 0.exr cannot be read; of OpenEXR"),
        ("0.pfm2", b"??", "depth 0.pfm2 cannot be read; allowed are .png"),
    ],
)
def test_depth_that_cannot_be_read_is_named_as_depth(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RejectedError) as refused:
        DepthFile(tmp_path / name, 1.0, Lens(4, 4, 4.0, 4.0, 2.0, 2.0)).check()
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_depth_arrays_of_another_kind_are_refused(tmp_path):
    lens = Lens(4, 4, 4.0, 4.0, 2.0, 2.0)
    for array in (np.zeros((4, 4, 3)), np.zeros(16), np.zeros((4, 4), complex), np.array([["a"]]), np.zeros((0, 4))):
        np.save(tmp_path / "0.npy", array)
        with pytest.raises(RejectedError, match="numbers in rows and columns are needed"):
            DepthFile(tmp_path / "0.npy", 1.0, lens).check()
    np.save(tmp_path / "0.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(RejectedError, match="damaged"):
        DepthFile(tmp_path / "0.npy", 1.0, lens).check()
    np.savez(tmp_path / "0.npz", a=np.zeros((4, 4)), b=np.zeros((4, 4)))
    with pytest.raises(RejectedError, match="holds 2 arrays; one, or one named depth"):
        DepthFile(tmp_path / "0.npz", 1.0, lens).check()
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    with pytest.raises(RejectedError, match=r"colours \(RGB\); one channel"):
        DepthFile(tmp_path / "0.png", 1.0, lens).check()


def test_views_without_depth_are_counted(tmp_path, truth):
    content = document(tmp_path, truth)
    for entry in content["frames"][1:]:
        entry["depth_file_path"] = "depth.npy"
    np.save(tmp_path / "depth.npy", np.ones((HEIGHT, WIDTH)))
    rewrite(tmp_path, content)
    (sentence,) = PosedScene(tmp_path, nerfstudio.load).content.dropped
    assert sentence.startswith("1 of 7 views have no depth (first frame_7.png)")


# COLMAP.


def colmap_model(folder: Path, truth: Truth, views: range, camera: tuple[int, list[float]] | None = None) -> None:
    kind, numbers = camera or (1, [truth.fx, truth.fy, truth.cx, truth.cy])
    folder.mkdir(parents=True)
    lens = struct.pack("<QiiQQ", 1, 1, kind, WIDTH, HEIGHT) + struct.pack(f"<{len(numbers)}d", *numbers)
    (folder / "cameras.bin").write_bytes(lens)
    content = struct.pack("<Q", len(views))
    for i in views:
        content += struct.pack("<i7di", i + 1, *colmap_numbers(truth, i), 1) + f"{i}.png".encode() + b"\0" + bytes(8)
    (folder / "images.bin").write_bytes(content)


def pictures(folder: Path, truth: Truth) -> None:
    for i in range(VIEWS):
        truth.picture(folder / f"{i}.png", i)


def test_the_largest_of_colmaps_models_is_read(tmp_path, truth):
    from vist3a.data.formats import colmap

    pictures(tmp_path / "images", truth)
    colmap_model(tmp_path / "sparse" / "0", truth, range(2))
    colmap_model(tmp_path / "sparse" / "1", truth, range(VIEWS))
    found = poses(tmp_path, colmap.load)
    for i in range(VIEWS):
        torch.testing.assert_close(found[f"{i}.png"], truth.cameras.world_to_camera[i], atol=1e-6, rtol=0)
    # Pictures of another model are not silently lost, and a damaged one is named.
    colmap_model(tmp_path / "sparse" / "2", truth, range(5, VIEWS))
    images = tmp_path / "sparse" / "1" / "images.bin"
    images.write_bytes(images.read_bytes()[:-30])
    colmap_model(tmp_path / "sparse" / "3", truth, range(5))
    content = PosedScene(tmp_path, colmap.load).content
    assert len(content.views) == 5
    assert content.dropped[0].startswith("the COLMAP model in 1 is damaged")
    assert "sparse/2: 2 of its pictures are not in sparse/3; only the largest model is read" in content.dropped


def test_fisheye_camera_of_newer_colmap(tmp_path, truth):
    from vist3a.data.formats import colmap

    pictures(tmp_path / "images", truth)
    colmap_model(tmp_path / "sparse" / "0", truth, range(VIEWS), (15, [60.0, 61.0, 47.0, 36.0]))
    lens = PosedScene(tmp_path, colmap.load).content.views[0].lens
    seen = lens.distorted(torch.tensor([[0.0, 1.0]], dtype=torch.float64))[0]
    assert (lens.fx, lens.fy) == (60.0, 61.0) and seen.tolist() == pytest.approx([0, np.pi / 4], abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "count", "words"),
    [(16, 6, "camera model EUCM"), (12, 4, "camera model SIMPLE_DIVISION"), (99, 4, "number 99")],
)
def test_other_cameras_of_newer_colmap_are_named(tmp_path, truth, kind, count, words):
    from vist3a.data.formats import colmap

    pictures(tmp_path / "images", truth)
    colmap_model(tmp_path / "sparse" / "0", truth, range(VIEWS), (kind, [60.0] * count))
    with pytest.raises(RejectedError, match=words):
        _ = PosedScene(tmp_path, colmap.load).content


def test_colmap_beside_smaller_pictures_alone(tmp_path, truth):
    from vist3a.data.formats import colmap

    for i in range(VIEWS):
        truth.picture(tmp_path / "images_2" / f"{i}.png", i, (HEIGHT // 2, WIDTH // 2))
    colmap_model(tmp_path / "sparse" / "0", truth, range(VIEWS))
    assert colmap.is_scene(tmp_path)
    lens = PosedScene(tmp_path, colmap.load).content.views[0].lens
    assert (lens.width, lens.fx) == (WIDTH // 2, pytest.approx(truth.fx / 2))


def test_the_blender_layout_is_one_scene(tmp_path, truth):
    content = document(tmp_path / "data", truth)
    frames = [{**e, "file_path": "./" + e["file_path"].removesuffix(".png")} for e in content["frames"]]
    angle = 2 * np.arctan(WIDTH / 2 / truth.fx)
    for part, some in (("train", frames[:4]), ("val", frames[4:5]), ("test", frames[5:])):
        (tmp_path / "data" / f"transforms_{part}.json").write_text(
            json.dumps({"camera_angle_x": angle, "frames": some})
        )
    (tmp_path / "data" / "transforms.json").unlink()
    assert_poses(poses(tmp_path / "data"), truth)
    clips, sentences = gather(tmp_path / "data", tmp_path / "out")
    assert list(clips) == ["data"] and sentences == []


def test_a_text_of_colmap_that_lost_whole_lines_says_so(tmp_path, truth):
    """Cut behind a line, only the number at its head shows it."""
    from vist3a.data.formats import colmap

    layouts.write_colmap_text(tmp_path, truth)
    path = tmp_path / "sparse" / "0" / "images.txt"
    lines = path.read_text().splitlines()[1:]
    head = f"# Number of images: {VIEWS}, mean observations per image: 1"
    path.write_text("\n".join([head, *lines]) + "\n")
    assert PosedScene(tmp_path, colmap.load).content.dropped == ()
    path.write_text("\n".join([head, *lines[:-4]]) + "\n")
    content = PosedScene(tmp_path, colmap.load).content
    assert len(content.views) == VIEWS - 2
    assert f"images.txt has {VIEWS - 2} entries, but its head says {VIEWS}" in content.dropped


@pytest.mark.parametrize("row", [[0, 0, 0, 2], [0, 0, 1e-3, 1], [0, 0, 0, 0]])
def test_the_last_row_of_a_pose_is_that_of_a_rigid_motion(tmp_path, truth, row):
    content = document(tmp_path, truth)
    content["frames"][2]["transform_matrix"][3] = row
    rewrite(tmp_path, content)
    (sentence,) = PosedScene(tmp_path, nerfstudio.load).content.dropped
    assert "the last row of the pose is 0 0 0" in sentence or "the last row of the pose is 0 0 0.001 1" in sentence
