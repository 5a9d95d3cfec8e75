"""What a scene's folder and its page hold, read back by other programs and by hand."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from gaussian_cases import some_gaussians
from matplotlib import colormaps
from PIL import Image
from plyfile import PlyData
from scene_cases import HEIGHT, VIEWS, WIDTH, coloured_gaussians, panning_cameras, small_scene

from vist3a.export.ply import filtered_points
from vist3a.export.scene import ExportSettings, gaussians_to_write, save_scene
from vist3a.export.smoothing import close_gaps
from vist3a.export.spz import load_spz
from vist3a.export.thinning import footprint, fuse_points, fuse_voxels, prune
from vist3a.export.turntable import flight, orbit, render_path, turntable_path
from vist3a.export.viewer import DROPPED_POINTS, save_viewer
from vist3a.geometry.quaternion import rotation_angle, rotation_from_quaternion
from vist3a.records import Cameras
from vist3a.rendering.cpu import CpuRenderer

SETTINGS = ExportSettings(turntable_frames=7, turntable_size=24, drop_points=0.25)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_every_file_holds_its_part_of_the_scene(tmp_path: Path) -> None:
    caption, frames, scene = small_scene("a ball")
    gaussians = gaussians_to_write(scene.gaussians, scene, SETTINGS)
    paths = save_scene(tmp_path, caption, frames, scene, gaussians, CpuRenderer(), SETTINGS)
    assert {path.name for path in tmp_path.iterdir()} == {
        path.relative_to(tmp_path).parts[0] for path in paths.values()
    }
    for view in range(VIEWS):
        wanted = (frames[0, view].movedim(0, -1).numpy() * 255).round()
        np.testing.assert_array_equal(picture(paths["images"] / f"{view:04d}.png"), wanted)
        depth = picture(paths["depth pictures"] / f"{view:04d}.png")
        scale = json.loads((paths["depth pictures"] / f"{view:04d}.json").read_text())["scale"]
        np.testing.assert_allclose(depth * scale, scene.depth[0, view], atol=scale)
    with np.load(paths["depth"]) as archive:
        np.testing.assert_array_equal(archive["depth"], scene.depth[0])
        np.testing.assert_array_equal(archive["confidence"], scene.depth_confidence[0])
    # The quarter of the points that is trusted least is left out.
    trust = np.sort(scene.points_confidence.flatten().numpy())
    kept = PlyData.read(str(paths["points"]))["vertex"]
    assert kept.count == trust.size - trust.size // 4
    np.testing.assert_allclose(np.sort(kept["confidence"]), trust[trust.size // 4 :])
    told = json.loads(paths["prompt"].read_text())
    assert told == {"prompt": "a ball", "seed": 3, "consistency_db": 21.25}
    assert [one["file_path"] for one in json.loads(paths["cameras"].read_text())["frames"]] == [
        f"images/{i:04d}.png" for i in range(VIEWS)
    ]
    film = frames_of(paths["video"])
    assert len(film) == VIEWS and film[0].shape == (HEIGHT, WIDTH, 3)
    # Five views beside each other, the renderings below.
    sheet = picture(paths["picture"])
    assert sheet.shape == (2 * HEIGHT + 2, VIEWS * WIDTH + 2 * (VIEWS - 1), 3)
    rendered = CpuRenderer()(scene.gaussians, scene.cameras, (HEIGHT, WIDTH)).rgb[0].clamp(0, 1)
    for view in range(VIEWS):
        left = view * (WIDTH + 2)
        for top, image in ((0, frames[0, view]), (HEIGHT + 2, rendered[view])):
            shown = sheet[top : top + HEIGHT, left : left + WIDTH] / 255
            np.testing.assert_allclose(shown, image.movedim(0, -1), atol=0.5 / 255 + 1e-4)
    assert len(load_spz(paths["gaussians spz"]).means[0]) == len(gaussians.means[0]) == 600
    # The turntable is so large that its shorter side has the asked size, and starts with the flight.
    turning, flown = frames_of(paths["turntable"]), frames_of(paths["flight"])
    assert (len(turning), len(flown)) == (7, 5)
    assert turning[0].shape == (24, 32, 3)
    path = turntable_path(scene.cameras[0], float(scene.depth[0].median()), 7)
    zoomed = Cameras(path.world_to_camera, torch.diag(torch.tensor([0.5, 0.5, 1.0])) @ path.intrinsics)
    wanted = CpuRenderer()(gaussians, zoomed[None], (24, 32)).rgb[0].clamp(0, 1).movedim(1, -1)
    for i, image in enumerate(turning):
        assert float((torch.from_numpy(image) / 255 - wanted[i]).abs().mean()) < 0.06
    bare = save_scene(
        tmp_path / "c", caption, frames, scene, scene.gaussians, CpuRenderer(), replace(SETTINGS, viewer=False)
    )
    assert "viewer" not in bare and not (tmp_path / "c" / "viewer.html").exists()
    without = save_scene(tmp_path / "b", caption, frames, replace(scene, gaussians=None), None, CpuRenderer(), SETTINGS)
    assert not {"gaussians", "turntable", "flight"} & without.keys()
    assert picture(without["picture"]).shape[0] == HEIGHT


def test_a_depth_that_is_not_finite_does_not_move_the_turntable(tmp_path: Path) -> None:
    caption, frames, scene = small_scene("a ball")
    films = []
    for name, broken in (("whole", []), ("broken", [torch.nan, torch.inf])):
        depth = scene.depth.clone()
        # Of two in the middle one below and one above, so that the median of the others is what it was.
        low, high = (depth.flatten().argsort()[[0, -1]]).tolist()
        for place, value in zip((low, high), broken, strict=False):
            depth.flatten()[place] = value
        paths = save_scene(
            tmp_path / name, caption, frames, replace(scene, depth=depth), scene.gaussians, CpuRenderer(), SETTINGS
        )
        films.append(np.stack(frames_of(paths["turntable"])))
    assert films[0].std() > 0
    np.testing.assert_array_equal(films[0], films[1])


@pytest.mark.parametrize(
    ("part", "told"), [("depth", "no depth of the scene is finite"), ("points", "no point of the scene is finite")]
)
def test_a_scene_without_anything_finite_is_refused_before_it_is_written(tmp_path: Path, part: str, told: str) -> None:
    caption, frames, scene = small_scene("a ball")
    scene = replace(scene, **{part: torch.full_like(getattr(scene, part), torch.nan)})
    with pytest.raises(ValueError, match=told):
        save_viewer(tmp_path / "viewer.html", caption, frames[0], scene, None)
    with pytest.raises(ValueError, match=told):
        save_scene(tmp_path / "scene", caption, frames, scene, scene.gaussians, CpuRenderer(), SETTINGS)
    assert not [*tmp_path.rglob("*.*")]


def test_gaussians_are_pruned_fused_chosen_and_grown_in_this_order() -> None:
    _, _, scene = small_scene()
    gaussians, cameras = coloured_gaussians(), panning_cameras()
    settings = ExportSettings(smoothing=0.3, max_gaussians=40, min_opacity=0.4, voxel_size=0.2)
    found = gaussians_to_write(gaussians, scene, settings)
    step = fuse_voxels(prune(gaussians, min_opacity=0.4), 0.2)
    assert 40 < len(step.means[0]) < int((gaussians.opacities >= 0.4).sum())
    expected = close_gaps(prune(step, max_gaussians=40, cameras=cameras), cameras, 0.3)
    assert found.means.shape[1] == 40
    torch.testing.assert_close(found.means, expected.means)
    torch.testing.assert_close(found.scales, expected.scales)
    assert float((found.scales - prune(step, max_gaussians=40, cameras=cameras).scales).min()) > 0
    unchanged = gaussians_to_write(gaussians, scene, ExportSettings())
    torch.testing.assert_close(unchanged.scales, gaussians.scales)


def test_a_footprint_is_the_largest_cross_section_over_the_squared_distance_to_the_nearest_camera() -> None:
    gaussians, cameras = some_gaussians(1, 20), panning_cameras()
    for i, size in enumerate(footprint(gaussians, cameras).tolist()):
        *_, second, first = sorted(gaussians.scales[0, i].tolist())
        nearest = min(float((gaussians.means[0, i] - centre).norm()) for centre in cameras.centers)
        assert size == pytest.approx(float(gaussians.opacities[0, i]) * first * second / nearest**2, rel=1e-4)
        assert footprint(gaussians)[i] == pytest.approx(float(gaussians.opacities[0, i]) * first * second, rel=1e-5)
    at = replace(gaussians, means=cameras.centers[:1].expand(20, 3)[None])
    assert bool(footprint(at, cameras).isfinite().all())


def test_points_without_any_trust_are_fused_all_the_same() -> None:
    points = torch.tensor([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1]])
    xyz, _, trust = fuse_points(points, torch.zeros(2, 3), torch.zeros(2), 1.0)
    torch.testing.assert_close(xyz, torch.tensor([[0.2, 0.1, 0.1]]))
    assert trust.tolist() == [0]
    unseen = replace(some_gaussians(1, 5), opacities=torch.zeros(1, 5), means=torch.rand(1, 5, 3))
    fused = fuse_voxels(unseen, 1.0)
    assert float(fused.opacities) == 0 and bool(fused.means.isfinite().all())
    torch.testing.assert_close(fused.means[0, 0], unseen.means[0].mean(0))
    solid = replace(unseen, opacities=torch.ones(1, 5))
    assert float(fuse_voxels(solid, 1.0).opacities) == pytest.approx(1)


def test_equal_trust_is_dropped_by_place_and_broken_points_always() -> None:
    points, trust = torch.arange(3000.0).view(1000, 3), torch.zeros(1000)
    points[500] = torch.nan
    xyz, rgb, kept = filtered_points(points, 2 * points - 1, trust, drop_fraction=0.3)
    assert kept is not None and len(xyz) == len(rgb) == len(kept) == 699
    assert xyz[0].tolist() == points[300].tolist(), "the first of equals go"
    assert float(rgb.max()) == 1 and float(rgb.min()) >= 0
    xyz, _, kept = filtered_points(points, points, torch.arange(1000.0), min_confidence=990.0, drop_fraction=0.0)
    assert kept is not None and kept.tolist() == [*map(float, range(990, 1000))]
    assert filtered_points(points, points)[2] is None
    for wrong in ({"min_confidence": 0.0}, {"drop_fraction": 0.5}):
        with pytest.raises(ValueError, match="only when a confidence is given"):
            filtered_points(points, points, **wrong)
    for fraction in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
            filtered_points(points, points, trust, drop_fraction=fraction)


def circling(views: int) -> Cameras:
    """Looking outwards all around, more than once: the quaternions change their sign on the way."""
    angle = torch.linspace(0, 5 * math.pi, views).double()
    half = torch.stack([(angle / 2).cos(), 0 * angle, (angle / 2).sin(), 0 * angle], -1)
    rotation = rotation_from_quaternion(half)
    centres = torch.stack([angle.sin(), angle / 5, angle.cos()], -1)
    pose = torch.eye(4).double().repeat(views, 1, 1)
    pose[:, :3, :3], pose[:, :3, 3] = rotation, -(rotation @ centres[..., None])[..., 0]
    k = torch.tensor([[50.0, 0, 31], [0, 52, 25], [0, 0, 1]]).double()
    return Cameras(pose, k.expand(views, 3, 3))


def test_a_flight_around_turns_as_the_views_do() -> None:
    """Never the long way round, at an even pace, also in the middle between two views."""
    cameras = circling(21)
    path = flight(cameras, 201)
    torch.testing.assert_close(path.world_to_camera[::10], cameras.world_to_camera, atol=1e-9, rtol=0)
    turn = torch.rad2deg(rotation_angle(path.world_to_camera[1:, :3, :3], path.world_to_camera[:-1, :3, :3]))
    assert float(turn.max()) < 1.1 * 900 / 200 and float(turn.min()) > 0.9 * 900 / 200
    # Between the views the spline is Catmull and Rom's: cubic, with half the difference of the neighbours as slope.
    p = cameras.centers[4:8]
    middle = (-p[0] + 9 * p[1] + 9 * p[2] - p[3]) / 16
    torch.testing.assert_close(path.centers[55], middle)
    ends = cameras.centers
    start = (-(2 * ends[0] - ends[1]) + 9 * ends[0] + 9 * ends[1] - ends[2]) / 16
    last = (-ends[-3] + 9 * ends[-2] + 9 * ends[-1] - (2 * ends[-1] - ends[-2])) / 16
    torch.testing.assert_close(path.centers[5], start)
    torch.testing.assert_close(path.centers[-6], last)
    with pytest.raises(ValueError, match="at least one frame, not 0"):
        flight(cameras, 0)


@pytest.mark.parametrize("frames", [1, 2, 3, 10, 30])
def test_a_turntable_is_the_flight_and_then_the_orbit_without_its_first_frame(frames: int) -> None:
    cameras = circling(4)
    path = turntable_path(cameras, 2.0, frames, degrees=5.0)
    flown = max(1, round(frames * 2 / 3))
    torch.testing.assert_close(path.world_to_camera[:flown], flight(cameras, flown).world_to_camera)
    if frames > flown:
        tail = orbit(cameras[-1], 2.0, frames - flown + 1, 5.0)
        torch.testing.assert_close(path.world_to_camera[flown:], tail.world_to_camera[1:])
        torch.testing.assert_close(path.intrinsics[flown:], tail.intrinsics[1:])
    alone = turntable_path(cameras[:1], 2.0, frames, degrees=5.0)
    torch.testing.assert_close(alone.world_to_camera, orbit(cameras[0], 2.0, frames, 5.0).world_to_camera)


def test_a_rendered_path_has_its_background_and_stays_in_range() -> None:
    gaussians, path = coloured_gaussians(), panning_cameras()
    bright = replace(gaussians, harmonics=10 * gaussians.harmonics)
    for background in (None, torch.tensor([0.1, 0.2, 0.3])):
        frames = render_path(bright, path, (24, 32), CpuRenderer(), background, chunk=2)
        expected = CpuRenderer()(bright, path[None], (24, 32), background).rgb[0]
        assert float(expected.max()) > 1
        torch.testing.assert_close(frames, expected.clamp(0, 1))


def page_of(path: Path) -> dict[str, Any]:
    found = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', path.read_text(), re.S)
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_the_scene_that_it_shows(tmp_path: Path) -> None:
    """Its data, without a browser: cameras, points in their box, depth in colours, splats, film and facts."""
    caption, frames, scene = small_scene("a <b>ball</b>")
    depth = scene.depth.clone()
    depth[0, 1, :5] = 0.0
    depth[0, 2, 0, 0] = torch.nan
    scene = replace(scene, depth=depth)
    path = tmp_path / "viewer.html"
    save_viewer(path, caption, frames[0], scene, scene.gaussians, fps=8.0)
    text = path.read_text()
    assert "a &lt;b&gt;ball&lt;/b&gt;" in text and "<b>ball" not in text
    assert "<dt>consistency_db</dt> <dd>21.2</dd>" in text and "<dt>seed</dt> <dd>3</dd>" in text
    content = page_of(path)
    assert content["size"] == [HEIGHT, WIDTH] and content["fps"] == 8
    known = np.sort(depth[torch.isfinite(depth)].numpy())
    assert content["pivot_depth"] == pytest.approx(known[(len(known) - 1) // 2])
    for view, camera in enumerate(content["cameras"]):
        np.testing.assert_allclose(camera["world_to_camera"], scene.cameras.world_to_camera[0, view])
        np.testing.assert_allclose(camera["intrinsics"], scene.cameras.intrinsics[0, view])
    points = content["points"]
    grid = np.frombuffer(base64.b64decode(points["positions"]), dtype="<u2").reshape(-1, 3)
    colors = np.frombuffer(base64.b64decode(points["colors"]), dtype=np.uint8).reshape(-1, 3)
    xyz, rgb, _ = filtered_points(
        scene.points[0], frames[0].movedim(1, -1), scene.points_confidence[0], drop_fraction=DROPPED_POINTS
    )
    assert points["count"] == len(grid) == len(colors) == len(xyz)
    low, high = np.array(points["low"]), np.array(points["high"])
    np.testing.assert_allclose(low + grid / 65535 * (high - low), xyz, atol=float((high - low).max()) / 65535)
    np.testing.assert_allclose(colors / 255, rgb, atol=0.51 / 255)
    assert grid.min() == 0 and grid.max() == 65535
    # Red is near and blue is far, between the 2nd and the 98th percentile; black is unknown.
    sheet = content["depth"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet["sheet"].split(",")[1]))))
    assert (sheet["height"], sheet["width"]) == (HEIGHT, WIDTH)
    positive = np.isfinite(depth[0].numpy()) & (depth[0].numpy() > 0)
    near, far = np.percentile(depth[0].numpy()[positive], [2, 98])
    assert f"{near:.3g} (red) to {far:.3g} (blue)" in text
    for view in range(VIEWS):
        top, left = view // sheet["columns"] * HEIGHT, view % sheet["columns"] * WIDTH
        shown = image[top : top + HEIGHT, left : left + WIDTH]
        values = np.nan_to_num(depth[0, view].numpy())
        wanted = colormaps["turbo"](1 - np.clip((values - near) / (far - near), 0, 1))[..., :3] * 255
        wanted[~positive[view]] = 0
        np.testing.assert_allclose(shown, wanted, atol=2)
    (tmp_path / "a.spz").write_bytes(base64.b64decode(content["splats"]))
    assert len(load_spz(tmp_path / "a.spz").means[0]) == 600
    film = re.search(r"data:video/mp4;base64,([^\"]+)", text)
    assert film is not None
    (tmp_path / "a.mp4").write_bytes(base64.b64decode(film[1]))
    assert len(frames_of(tmp_path / "a.mp4")) == VIEWS
    bundle = re.search(r'id="bundle">([^<]+)<', text)
    assert bundle is not None and gzip.decompress(base64.b64decode(bundle[1]))
    save_viewer(path, caption, frames[0], replace(scene, depth=0 * scene.depth, gaussians=None), None)
    assert page_of(path)["splats"] is None and "0 (red) to 1 (blue)" in path.read_text()
