"""Folders that are read back, pages of scenes that are too large for them, and the program that serves one."""

from __future__ import annotations

import base64
import io
import json
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_cases import some_gaussians
from matplotlib import colormaps
from PIL import Image
from scene_cases import HEIGHT, VIEWS, WIDTH, panning_cameras, small_scene

from vist3a.export import viewer
from vist3a.export.cameras import save_cameras
from vist3a.export.depth import save_depth_npz
from vist3a.export.formats import Exported, check_formats, write_formats
from vist3a.export.gaussian_file import PLY, GaussianFile
from vist3a.export.pivot import check_points, pivot_depth
from vist3a.export.ply import filtered_points, load_gaussians, save_gaussians
from vist3a.export.saved_scene import read_scene
from vist3a.export.scene import ExportSettings, gaussians_to_write, scene_name, scene_picture
from vist3a.export.serve import find_scene
from vist3a.export.thinning import prune
from vist3a.export.video import save_image
from vist3a.geometry.projection import unproject_depth
from vist3a.rendering.cpu import CpuRenderer


def folder_of(
    tmp_path: Path, with_gaussians: bool = True, with_trust: bool = True
) -> tuple[Path, torch.Tensor, torch.Tensor]:
    """A scene's folder made file by file: three views of 6 x 8 pixels."""
    folder = tmp_path / "scene"
    random = torch.Generator().manual_seed(0)
    depth, trust = (1 + torch.rand(3, 6, 8, generator=random) for _ in range(2))
    names = [f"images/{i}.png" for i in range(3)]
    for name in names:
        save_image(folder / name, torch.rand(3, 6, 8, generator=random))
    save_cameras(folder / "transforms.json", panning_cameras()[:3], (6, 8), names)
    save_depth_npz(folder / "depth.npz", depth, trust if with_trust else None)
    (folder / "prompt.json").write_text(json.dumps({"prompt": "a bäll", "seed": 4, "score": 0.5}), encoding="utf-8")
    if with_gaussians:
        save_gaussians(folder / "gaussians.ply", some_gaussians(4, 7))
    return folder, depth, trust


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_is_read_as_it_was_written(tmp_path: Path, whole: bool) -> None:
    folder, depth, trust = folder_of(tmp_path, whole, whole)
    found = read_scene(folder)
    cameras = panning_cameras()[:3]
    assert found.caption.prompt == "a bäll" and found.caption.facts == {"seed": 4, "score": 0.5}
    assert found.frames.shape == (1, 3, 3, 6, 8)
    for i in range(3):
        stored = np.asarray(Image.open(folder / f"images/{i}.png")) / 255
        np.testing.assert_allclose(found.frames[0, i].movedim(0, -1), stored, atol=1e-7)
    assert torch.equal(found.scene.depth, depth[None])
    expected = trust if whole else torch.ones_like(depth)
    assert torch.equal(found.scene.depth_confidence[0], expected) and torch.equal(
        found.scene.points_confidence[0], expected
    )
    torch.testing.assert_close(found.scene.points[0], unproject_depth(depth, cameras), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.scene.cameras.world_to_camera[0], cameras.world_to_camera)
    assert (found.gaussians is not None) == whole
    if found.gaussians is not None:
        torch.testing.assert_close(found.gaussians.means, some_gaussians(4, 7).means)


@pytest.mark.parametrize("name", ["transforms.json", "depth.npz", "prompt.json"])
def test_a_folder_that_lacks_a_file_is_no_scene(tmp_path: Path, name: str) -> None:
    folder, _, _ = folder_of(tmp_path)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"holds no {re.escape(name)}; allowed: the folder of a scene"):
        read_scene(folder)


def test_files_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    folder, depth, _ = folder_of(tmp_path)
    for wrong in (depth[:2], depth[:, :5], depth[..., :7]):
        save_depth_npz(folder / "depth.npz", wrong)
        with pytest.raises(ValueError, match=r"depth\.npz has shape .*; allowed: \(3, 6, 8\), as transforms"):
            read_scene(folder)
    save_depth_npz(folder / "depth.npz", depth)
    save_image(folder / "images/1.png", torch.rand(3, 6, 7))
    with pytest.raises(ValueError, match=r"1\.png has \(6, 7\) pixels; allowed: \(6, 8\)"):
        read_scene(folder)
    # A name may neither lead out of the folder nor to nothing.
    save_image(tmp_path / "outside.png", torch.rand(3, 6, 8))
    for name in ("../outside.png", "images/9.png", "images"):
        save_cameras(folder / "transforms.json", panning_cameras()[:3], (6, 8), ["images/0.png", name, "images/2.png"])
        with pytest.raises(FileNotFoundError, match=rf"names the picture {re.escape(name)}; allowed: files in"):
            read_scene(folder)


def exported(tmp_path: Path, gaussians: bool = True) -> Exported:
    caption, frames, scene = small_scene()
    return Exported(caption, frames, scene, scene.gaussians if gaussians else None)


def outside(folder: Path, given: Exported) -> Path:
    """Writes beside the folder."""
    (folder.parent / "elsewhere.txt").write_text("x")
    return folder.parent / "elsewhere.txt"


def nowhere(folder: Path, given: Exported) -> Path:
    """Writes nothing."""
    return folder / "nothing.txt"


NUMBER = 3


def test_further_files_are_where_they_were_said_to_be(tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    found = write_formats(("ply",), folder, exported(tmp_path), "generate.formats")
    assert found == {"ply": folder / "gaussians.ply"} and load_gaussians(found["ply"]).means.shape == (1, 600, 3)
    for name in ("outside", "nowhere"):
        with pytest.raises(ValueError, match=rf"generate\.formats: {__name__}:{name} wrote .*; allowed: what is there"):
            write_formats((f"{__name__}:{name}",), folder, exported(tmp_path), "generate.formats")
    check_formats(("ply", f"{__name__}:outside"), "x")
    with pytest.raises(ValueError, match=r"x: .*:NUMBER cannot be called; allowed"):
        check_formats(("ply", f"{__name__}:NUMBER"), "x")
    with pytest.raises(ValueError, match=r"holds no Gaussians for gaussians\.ply; allowed: a scene of a network"):
        PLY(folder, exported(tmp_path, False))
    other = GaussianFile("a.ply", save_gaussians)
    assert other(folder, exported(tmp_path)) == folder / "a.ply" and (folder / "a.ply").is_file()


def content_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', path.read_text(), re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def test_a_page_of_a_large_scene_shows_every_so_many_points_pixels_and_the_gaussians_seen_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer, "MAX_POINTS", 1000)
    monkeypatch.setattr(viewer, "MAX_DEPTH_SIDE", 20)
    monkeypatch.setattr(viewer, "MAX_GAUSSIANS", 50)
    caption, frames, scene = small_scene()
    viewer.save_viewer(tmp_path / "a.html", caption, frames[0], scene, scene.gaussians)
    content = content_of(tmp_path / "a.html")
    xyz, rgb, _ = filtered_points(
        scene.points[0], frames[0].movedim(1, -1), scene.points_confidence[0], drop_fraction=viewer.DROPPED_POINTS
    )
    step = -(-len(xyz) // 1000)
    assert content["points"]["count"] == len(xyz[::step]) <= 1000
    colors = np.frombuffer(base64.b64decode(content["points"]["colors"]), np.uint8).reshape(-1, 3)
    np.testing.assert_allclose(colors / 255, rgb[::step], atol=0.51 / 255)
    low, high = np.array(content["points"]["low"]), np.array(content["points"]["high"])
    grid = np.frombuffer(base64.b64decode(content["points"]["positions"]), "<u2").reshape(-1, 3)
    np.testing.assert_allclose(low + grid / 65535 * (high - low), xyz[::step], atol=float((high - low).max()) / 65535)
    # 64 columns make every fourth pixel 16.
    height, width = HEIGHT // 4, WIDTH // 4
    sheet = content["depth"]
    assert (sheet["height"], sheet["width"], sheet["columns"]) == (height, width, 4)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet["sheet"].split(",")[1]))))
    assert image.shape == (-(-VIEWS // 4) * height, 4 * width, 3)
    values = scene.depth[0, :, ::4, ::4].numpy()
    near, far = np.percentile(values, [2, 98])
    for view in range(VIEWS):
        top, left = view // 4 * height, view % 4 * width
        wanted = (colormaps["turbo"](1 - np.clip((values[view] - near) / (far - near), 0, 1))[..., :3] * 255).round()
        # Rounded, not cut; a depth on the border of two colors may have either.
        assert np.mean(image[top : top + height, left : left + width] != wanted) < 0.01
    assert not image[height:, width:].any()
    (tmp_path / "a.spz").write_bytes(base64.b64decode(content["splats"]))
    from vist3a.export.spz import load_spz

    assert scene.gaussians is not None
    kept = prune(scene.gaussians, max_gaussians=50, cameras=scene.cameras[0])
    torch.testing.assert_close(load_spz(tmp_path / "a.spz").means, kept.means, atol=1e-3, rtol=0)
    assert content["fps"] == 8.0


def test_a_wall_has_places_in_a_box_without_depth(tmp_path: Path) -> None:
    caption, frames, scene = small_scene()
    points = scene.points.clone()
    points[..., 2] = 1.5
    viewer.save_viewer(tmp_path / "a.html", caption, frames[0], replace(scene, points=points), None)
    told = content_of(tmp_path / "a.html")["points"]
    grid = np.frombuffer(base64.b64decode(told["positions"]), "<u2").reshape(-1, 3)
    assert told["low"][2] == told["high"][2] == 1.5 and not grid[:, 2].any() and grid[:, 0].max() == 65535


def test_what_can_be_shown_and_the_middle_of_it() -> None:
    nan = torch.nan
    assert pivot_depth(torch.tensor([[[3.0, nan, 1.0, torch.inf, 2.0, 9.0]]])) == 2.0
    with pytest.raises(ValueError, match="no depth of the scene is finite, of 2; at least one"):
        pivot_depth(torch.tensor([[[nan, torch.inf]]]))
    check_points(1)
    with pytest.raises(ValueError, match="no point of the scene is finite, or only points of the lowest"):
        check_points(0)


def test_a_picture_of_a_scene_spreads_over_its_views() -> None:
    _, frames, scene = small_scene()
    for columns, chosen in ((3, [0, 2, 4]), (2, [0, 4]), (5, [0, 1, 2, 3, 4])):
        sheet = scene_picture(frames, scene, CpuRenderer(), columns)
        assert sheet.shape == (3, 2 * HEIGHT + 2, columns * (WIDTH + 2) - 2)
        for place, view in enumerate(chosen):
            left = place * (WIDTH + 2)
            assert torch.equal(sheet[:, :HEIGHT, left : left + WIDTH], frames[0, view])


def test_what_is_written_is_pruned_before_and_after_fusion() -> None:
    _, _, scene = small_scene()
    assert scene.gaussians is not None
    plain = gaussians_to_write(scene.gaussians, scene, ExportSettings())
    assert torch.equal(plain.means, scene.gaussians.means)
    thin = gaussians_to_write(scene.gaussians, scene, ExportSettings(min_opacity=0.5))
    assert thin.means.shape[1] == int((scene.gaussians.opacities >= 0.5).sum())


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a b", "a-b-7"), ("x" * 60, f"{'x' * 60}-7"), ("x" * 59 + " y", f"{'x' * 59}--"), ("x" * 61, f"{'x' * 60}--"),
        ("", "scene--"), ("a  b", "a-b--"), ("A", "a--"),
    ],
)  # fmt: skip
def test_names_have_sixty_letters_at_most_before_their_hash(prompt: str, name: str) -> None:
    found = scene_name(prompt, 7)
    assert found == name if name.endswith("-7") else re.fullmatch(rf"{name}[0-9a-f]{{8}}-7", found)


def test_the_program_serves_a_scene_until_it_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "viewer.html").write_text("a page")
    assert find_scene("a", tmp_path) == tmp_path / "a"
    command = [sys.executable, "-m", "vist3a.export.serve"]
    with subprocess.Popen(
        [*command, str(tmp_path / "a"), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"(.*): (http://127\.0\.0\.1:\d+/viewer\.html)  \(Ctrl-C ends it\)\n", line)
        assert found is not None and found[1] == str(tmp_path / "a")
        with urllib.request.urlopen(found[2], timeout=60) as answer:
            assert answer.read() == b"a page"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    refused = subprocess.run([*command, str(tmp_path / "b")], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "is no scene: neither it nor" in refused.stderr and not refused.stdout
