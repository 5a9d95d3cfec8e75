"""Data sets in their real layouts: cameras, order, depth and quirks, through the scan and the checks of the curation."""

import json
from pathlib import Path
from tempfile import mkdtemp

import dataset_layouts as layouts
import pytest
import torch
from dataset_layouts import HEIGHT, VIEWS, WIDTH, Truth

from vist3a.data.checks import Limits
from vist3a.data.clip_store import ClipStore
from vist3a.data.curation import gather_folder
from vist3a.data.formats.lens import FISHEYE, Lens, colmap_lens
from vist3a.data.rejected import RejectedError
from vist3a.data.resizing import fit
from vist3a.data.sources import scan
from vist3a.records.clip_shape import ClipShape

LIMITS = Limits(min_sharpness=0.0, min_relative_sharpness=0.0, min_difference=0.0, min_motion=0.0)
SIZE = 64


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth()


def read(tmp_path, views=5):
    # Clips that are there already would be taken up.
    target = Path(mkdtemp(dir=tmp_path))
    gathered = gather_folder(tmp_path / "data", target, ClipShape(frames=views, height=SIZE, width=SIZE), LIMITS)
    (row,) = gathered.rows
    store = ClipStore(target, _index(gathered))
    return store.load(str(row["name"])), gathered.rejected


def _index(gathered):
    import pandas as pd

    return pd.DataFrame([{**row, "split": "fit"} for row in gathered.rows])


def expected_views(truth):
    """Every view but the ends that ``choose_views`` leaves out of 7 for 5."""
    from vist3a.data.sampling import choose_views

    return choose_views(VIEWS, 5, LIMITS.max_stride)[0]


def assert_is_the_scene(clip, truth, pictures=2.0, focal=True):
    chosen = expected_views(truth)
    poses = truth.cameras.world_to_camera[chosen].float()
    flipped = not torch.allclose(clip.cameras.world_to_camera[0], poses[0], atol=1e-4)
    if flipped:  # unordered formats: either direction of the path
        chosen = [VIEWS - 1 - i for i in chosen]
        poses = truth.cameras.world_to_camera[chosen].float()
    torch.testing.assert_close(clip.cameras.world_to_camera, poses, atol=1e-4, rtol=0)
    wanted = torch.stack([fit(truth.frames[i], SIZE, SIZE) for i in chosen]).float()
    assert (clip.frames * 255 - wanted).abs().mean() < pictures
    if focal:
        # Centre crop of 96x72 to 72x72, then 64x64.
        scale = SIZE / HEIGHT
        k = torch.tensor(
            [
                [truth.fx * scale, 0, (truth.cx - (WIDTH - HEIGHT) / 2) * scale],
                [0, truth.fy * scale, truth.cy * scale],
                [0, 0, 1],
            ]
        )
        torch.testing.assert_close(clip.cameras.intrinsics, k.expand(5, 3, 3), atol=1e-3, rtol=0)
    return chosen


def assert_depth(clip, truth, chosen):
    rows = ((torch.arange(SIZE) + 0.5) * HEIGHT / SIZE).floor().long()
    columns = ((torch.arange(SIZE) + 0.5) * HEIGHT / SIZE + (WIDTH - HEIGHT) / 2).floor().long()
    wanted = truth.depth[chosen][:, rows][:, :, columns]
    known = (wanted > 0) & (wanted < 65)
    assert known.float().mean() > 0.3
    same = (clip.depth - wanted).abs()[known] < 2e-3
    assert same.float().mean() > 0.99
    assert (clip.depth[~known] == 0).all()


@pytest.mark.parametrize("reduced", ["images", "images_4"])
@pytest.mark.parametrize("shared", [True, False])
def test_nerfstudio(tmp_path, truth, reduced, shared):
    layouts.write_nerfstudio(tmp_path / "data" / "scene", truth, reduced, shared)
    clip, rejected = read(tmp_path)
    assert rejected == () and clip.depth is None
    assert_is_the_scene(clip, truth)


def test_broken_entries_of_nerfstudio_are_named_and_the_rest_is_used(tmp_path, truth):
    folder = tmp_path / "data"
    content = layouts.write_nerfstudio(folder, truth)
    good = content["frames"][0]
    content["frames"] += [
        {"file_path": "images/gone.png", "transform_matrix": good["transform_matrix"]},
        {"file_path": "../outside.png", "transform_matrix": good["transform_matrix"]},
        {"file_path": good["file_path"], "transform_matrix": [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]},
        {**good, "camera_model": "EQUIRECTANGULAR"},
        {**good, "fl_x": "wide"},
    ]
    (folder / "transforms.json").write_text(json.dumps(content))
    clip, rejected = read(tmp_path)
    reasons = " | ".join(reason for _, reason in rejected)
    for part in ("gone.png: the picture is missing", "leaves the folder", "no rigid motion", "EQUIRECTANGULAR", "fl_x"):
        assert part in reasons
    assert len(rejected) == 5 and all("\n" not in reason for _, reason in rejected)
    assert_is_the_scene(clip, truth)


def test_nerfstudio_depth_has_the_stated_unit(tmp_path, truth):
    folder = tmp_path / "data"
    content = layouts.write_nerfstudio(folder, truth)
    for entry in content["frames"]:
        number = int(entry["file_path"].split("_")[1].split(".")[0]) - 7
        entry["depth_file_path"] = f"depth/{number}.png"
        truth.depth_picture(folder / "depth" / f"{number}.png", number, unit=2e-3)
    (folder / "transforms.json").write_text(json.dumps({**content, "depth_unit_scale_factor": 2e-3}))
    clip, _ = read(tmp_path)
    chosen = assert_is_the_scene(clip, truth)
    assert_depth(clip, truth, chosen)


def test_scannet_with_a_lost_pose(tmp_path, truth):
    folder = tmp_path / "data" / "scene0000_00"
    layouts.write_scannet(folder, truth)
    truth.picture(folder / "color" / "5.jpg", 0, (2 * HEIGHT, 2 * WIDTH))
    (folder / "pose" / "5.txt").write_text("-inf -inf -inf -inf\n" * 4)
    clip, rejected = read(tmp_path)
    assert [reason.split(": ")[1:] for _, reason in rejected] == [
        ["color/5.jpg", "the pose is not finite (tracking was lost); finite numbers are needed"]
    ]
    chosen = assert_is_the_scene(clip, truth, pictures=6.0)  # JPEG
    assert_depth(clip, truth, chosen)


def test_cut_pictures_and_depths_cost_their_views_only(tmp_path, truth):
    folder = tmp_path / "data"
    layouts.write_scannet(folder, truth)
    for name, part in (("1", "color/1.jpg"), ("2", "depth/2.png")):
        truth.picture(folder / "color" / f"{name}.jpg", 0, (2 * HEIGHT, 2 * WIDTH))
        truth.depth_picture(folder / "depth" / f"{name}.png", 0)
        (folder / "pose" / f"{name}.txt").write_text((folder / "pose" / "0.txt").read_text())
        whole = (folder / part).read_bytes()
        (folder / part).write_bytes(whole[: len(whole) // 2])
    clip, rejected = read(tmp_path)
    assert [reason.partition(": ")[2] for _, reason in rejected] == [
        "1.jpg: 1.jpg is damaged or cut short; a whole picture is needed",
        "2.jpg: 2.png is damaged or cut short; a whole picture is needed",
    ]
    assert_is_the_scene(clip, truth, pictures=6.0)


def test_seven_scenes(tmp_path, truth):
    folder = tmp_path / "data" / "chess" / "seq-01"
    layouts.write_seven_scenes(folder, truth)
    (folder / "frame-000003.pose.txt").write_text("1 2 3\n")
    (source,) = scan(tmp_path / "data")
    assert source.name == "chess-seq-01"
    clip, rejected = read(tmp_path)
    assert len(rejected) == 1 and "frame-000003.color.png: frame-000003.pose.txt has 1 lines" in rejected[0][1]
    torch.testing.assert_close(clip.cameras.intrinsics[0, 0, 0].item(), 585.0 * SIZE / 480, atol=1e-3, rtol=0)
    assert clip.depth is not None and clip.depth.max() < 65 and (clip.depth > 0).float().mean() > 0.2


def test_realestate10k_with_frames(tmp_path, truth):
    stamps = [(i + 1) * 66733 for i in range(VIEWS)]
    layouts.write_realestate(tmp_path / "data" / "train" / "0a1b.txt", truth, stamps)
    for i, stamp in enumerate(stamps):
        truth.picture(tmp_path / "data" / "train" / "0a1b" / f"{stamp}.png", i)
    with (tmp_path / "data" / "train" / "0a1b.txt").open("a") as text:
        text.write(f"{99 * 66733} 1 1 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0\n1 2 3\n")
    clip, rejected = read(tmp_path)
    assert ["no frame" in rejected[0][1], "3 numbers; 19 are needed" in rejected[1][1]] == [True, True]
    assert_is_the_scene(clip, truth)


def test_realestate10k_with_a_video(tmp_path, truth):
    from vist3a.export.video import save_video

    path = tmp_path / "data" / "clip.txt"
    # Three frames of the film per view; the stated time is a little beside that of the middle one.
    film = truth.frames.repeat_interleave(3, 0).float() / 255
    path.parent.mkdir()
    save_video(path.with_suffix(".mp4"), film, fps=30.0)
    stamps = [round(((3 * i + 1) / 30 + 0.004) * 1e6) for i in range(VIEWS)]
    layouts.write_realestate(path, truth, stamps)
    with path.open("a") as text:
        text.write("9000000 1 1 0.5 0.5 0 0 1 0 0 0 0 1 0 0 0 0 1 0\n")
    clip, rejected = read(tmp_path)
    assert len(rejected) == 1 and "the video has no frame at 9.000 s" in rejected[0][1]
    assert_is_the_scene(clip, truth, pictures=8.0)  # lossy coding
    assert clip.caption == ""


@pytest.mark.parametrize("model", ["PINHOLE", "SIMPLE_RADIAL"])
@pytest.mark.parametrize("place", ["sparse/0", "dslr_calibration_undistorted"])
def test_colmap_text(tmp_path, truth, model, place):
    layouts.write_colmap_text(tmp_path / "data", truth, model, place)
    clip, rejected = read(tmp_path)
    assert rejected == ()
    assert_is_the_scene(clip, truth)


def test_colmap_binary(tmp_path, truth):
    layouts.write_colmap_binary(tmp_path / "data", truth)
    clip, rejected = read(tmp_path)
    assert rejected == ()
    assert_is_the_scene(clip, truth)
    (tmp_path / "data" / "sparse" / "images.bin").write_bytes(b"\x07" + b"\0" * 20)
    with pytest.raises(ValueError, match="COLMAP model in sparse is damaged"):
        read(tmp_path)


def test_distorted_eth3d_photographs_are_refused_with_a_sentence(tmp_path, truth):
    layouts.write_colmap_text(tmp_path / "data", truth, "THIN_PRISM_FISHEYE", "dslr_calibration_jpg")
    with pytest.raises(
        ValueError, match=r"camera model THIN_PRISM_FISHEYE; allowed are .*undistort the pictures first"
    ):
        read(tmp_path)


def test_a_data_set_beside_other_sources(tmp_path, truth):
    layouts.write_scannet(tmp_path / "data" / "scan", truth)
    truth.picture(tmp_path / "data" / "plain" / "1.png", 0)
    (tmp_path / "data" / "film.mp4").write_bytes(b"")
    assert [source.location for source in scan(tmp_path / "data")] == ["film.mp4", "plain", "scan"]


@pytest.mark.parametrize(
    ("lens", "point", "place"),
    [
        # r^2 = 0.05; OpenCV's formulas by hand.
        (Lens(2, 2, 1.0, 1.0, 1.0, 1.0, distortion=(0.2, -0.1)), (0.1, 0.2), (0.1 * 1.00975, 0.2 * 1.00975)),
        (
            Lens(2, 2, 1.0, 1.0, 1.0, 1.0, distortion=(0.0, 0.0, 0.01, 0.02)),
            (0.1, 0.2),
            (0.1 + 0.02 * 0.02 + 0.02 * (0.05 + 0.02), 0.2 + 0.01 * (0.05 + 0.08) + 0.04 * 0.02),
        ),
        (Lens(2, 2, 1.0, 1.0, 1.0, 1.0, FISHEYE, (0.0, 0.0, 0.0, 0.0)), (1.0, 0.0), (torch.pi / 4, 0.0)),
    ],
)
def test_distortion_in_closed_form(lens, point, place):
    found = lens.distorted(torch.tensor([point], dtype=torch.float64))[0]
    torch.testing.assert_close(found, torch.tensor(place, dtype=torch.float64))


def test_undistorting_straightens_a_picture():
    """A picture taken with distortion (by evaluating a smooth pattern at distorted places) becomes the pinhole one."""
    from vist3a.geometry.projection import pixel_grid

    lens = Lens(80, 60, 70.0, 70.0, 40.0, 30.0, distortion=(-0.2, 0.05, 0.002, -0.001))
    centre = torch.tensor([40.0, 30.0], dtype=torch.float64)

    def pattern(rays):
        return 127 + 60 * torch.sin(6 * rays[..., 0]) + 60 * torch.cos(5 * rays[..., 1])

    grid = (pixel_grid(60, 80, dtype=torch.float64) - centre) / 70
    undistorted = grid
    for _ in range(30):  # invert the distortion by fixed point
        undistorted = undistorted - (lens.distorted(undistorted) - grid)
    taken = pattern(undistorted).round().byte().expand(3, -1, -1)
    straight = lens.undistort(taken)[0].double()
    assert (straight - pattern(grid))[3:-3, 3:-3].abs().mean() < 0.7
    assert (taken[0].double() - pattern(grid)).abs().mean() > 2


def test_wrong_numbers_of_parameters_and_shapes_are_refused():
    with pytest.raises(RejectedError, match="PINHOLE has 3 parameters; 4 are needed"):
        colmap_lens("PINHOLE", 4, 4, [1.0, 2.0, 2.0])
    with pytest.raises(RejectedError, match="40x60 pixels has intrinsics for 60x40"):
        Lens(60, 40, 1.0, 1.0, 1.0, 1.0).for_size(60, 40)
