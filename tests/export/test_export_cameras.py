"""Camera files and camera paths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vist3a.export.cameras import load_cameras, save_cameras
from vist3a.export.colmap import load_colmap, save_colmap
from vist3a.export.turntable import flight, orbit, render_path, turntable_path
from vist3a.geometry.projection import project
from vist3a.geometry.quaternion import rotation_angle, rotation_from_quaternion
from vist3a.records import Cameras, Gaussians
from vist3a.rendering.cpu import CpuRenderer


def smooth_cameras(views: int = 5) -> Cameras:
    """Cameras that pan and move, float64."""
    t = torch.linspace(0, 1, views, dtype=torch.float64)
    quaternion = torch.stack([torch.ones_like(t), 0.1 * t**2, 0.4 * t, 0.05 * torch.sin(3 * t)], -1)
    pose = torch.eye(4, dtype=torch.float64).repeat(views, 1, 1)
    pose[:, :3, :3] = rotation_from_quaternion(quaternion)
    pose[:, :3, 3] = torch.stack([t, torch.sin(2 * t), 0.3 * t], -1)
    k = torch.tensor([[50.0, 0, 31], [0, 52, 25], [0, 0, 1]], dtype=torch.float64).repeat(views, 1, 1)
    k[:, 0, 0] += 5 * t
    return Cameras(pose, k)


def test_cameras_come_back(tmp_path: Path) -> None:
    cameras = smooth_cameras()
    save_cameras(tmp_path / "transforms.json", cameras, (48, 64))
    read, size, files = load_cameras(tmp_path / "transforms.json")
    assert size == (48, 64) and files[:2] == ["images/0000.png", "images/0001.png"]
    torch.testing.assert_close(read.world_to_camera, cameras.world_to_camera.float())
    torch.testing.assert_close(read.intrinsics, cameras.intrinsics.float())


def test_matrix_is_opengl_camera_to_world(tmp_path: Path) -> None:
    """In OpenGL a camera looks along its -z and its +y points up."""
    save_cameras(tmp_path / "transforms.json", smooth_cameras(), (48, 64))
    frame = json.loads((tmp_path / "transforms.json").read_text())["frames"][2]
    matrix = torch.tensor(frame["transform_matrix"], dtype=torch.float64)
    camera = smooth_cameras()[2]
    torch.testing.assert_close(matrix[:3, 3], camera.centers)
    ahead = matrix @ torch.tensor([0.0, 0.3, -2.0, 1.0], dtype=torch.float64)
    pixel, z = project(ahead[None, :3], camera)
    assert z.item() == pytest.approx(2.0) and pixel[0, 1] < frame["cy"] and pixel[0, 0].item() == pytest.approx(31)


def test_shared_intrinsics_are_read_and_distortion_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "transforms.json"
    shared = {"fl_x": 10, "fl_y": 11, "cx": 4, "cy": 3, "w": 8, "h": 6}
    frames = [{"file_path": "a.png", "transform_matrix": torch.eye(4).tolist()}]
    path.write_text(json.dumps({**shared, "frames": frames}))
    cameras, size, _ = load_cameras(path)
    assert size == (6, 8) and cameras.intrinsics[0, 1, 1] == 11
    path.write_text(json.dumps({**shared, "k1": 0.1, "frames": frames}))
    with pytest.raises(ValueError, match=r"lens distortion \(k1\)"):
        load_cameras(path)
    del shared["cx"]
    path.write_text(json.dumps({**shared, "frames": frames}))
    with pytest.raises(ValueError, match="'cx' stands neither"):
        load_cameras(path)
    with pytest.raises(ValueError, match="as many file names"):
        save_cameras(path, smooth_cameras(), (48, 64), ["one.png"])


def test_flight_passes_through_all_views_smoothly() -> None:
    cameras = smooth_cameras()
    path = flight(cameras, 81)
    torch.testing.assert_close(path.world_to_camera[::20], cameras.world_to_camera, atol=1e-9, rtol=0)
    torch.testing.assert_close(path.intrinsics[::20], cameras.intrinsics, atol=1e-9, rtol=0)
    rotation = path.world_to_camera[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(81, 3, 3))
    step = path.centers.diff(dim=0)
    assert step.diff(dim=0).norm(dim=-1).max() < 0.2 * step.norm(dim=-1).max()
    turn = rotation_angle(rotation[1:], rotation[:-1])
    assert turn.diff().abs().max() < 0.2 * turn.max()


def test_flight_of_one_view_stands_still() -> None:
    path = flight(smooth_cameras()[:1], 4)
    torch.testing.assert_close(path.world_to_camera, smooth_cameras().world_to_camera[:1].expand(4, 4, 4))


def test_orbit_looks_at_its_pivot_and_returns() -> None:
    camera = smooth_cameras()[3]
    path = orbit(camera, 2.0, 25, degrees=6.0)
    pivot = camera.camera_to_world @ torch.tensor([0.0, 0.0, 2.0, 1.0], dtype=torch.float64)
    pixels, z = project(pivot[None, None, :3].expand(25, 1, 3), path)
    torch.testing.assert_close(z, torch.full_like(z, 2.0))
    torch.testing.assert_close(pixels[:, 0], camera.intrinsics[:2, 2].expand(25, 2))
    torch.testing.assert_close(path.world_to_camera[0], camera.world_to_camera)
    torch.testing.assert_close(path.world_to_camera[-1], camera.world_to_camera)
    angle = rotation_angle(path.world_to_camera[:, :3, :3], camera.world_to_camera[:3, :3].expand(25, 3, 3))
    assert torch.rad2deg(angle).max().item() == pytest.approx(6.0, rel=1e-6)
    with pytest.raises(ValueError, match="pivot"):
        orbit(camera, 0.0, 5)


@pytest.mark.parametrize(("views", "frames"), [(5, 30), (1, 30), (5, 1), (2, 2)])
def test_turntable_has_the_asked_number_of_frames_and_no_jump(views: int, frames: int) -> None:
    path = turntable_path(smooth_cameras(views), 2.0, frames)
    assert path.world_to_camera.shape == (frames, 4, 4) and path.intrinsics.shape == (frames, 3, 3)
    if frames == 30:
        assert path.centers.diff(dim=0).norm(dim=-1).max() < 0.25


def test_rendered_path_does_not_depend_on_the_chunk() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(1, 40, 3, generator=generator) + torch.tensor([0.0, 0.0, 5.0])
    colors = torch.randn(1, 40, 1, 3, generator=generator)
    gaussians = Gaussians(means, torch.full((1, 40, 3), 0.1), torch.randn(1, 40, 4), torch.full((1, 40), 0.9), colors)
    path = turntable_path(smooth_cameras().to(dtype=torch.float32), 5.0, 11)
    frames = render_path(gaussians, path, (24, 30), CpuRenderer(), chunk=4)
    assert frames.shape == (11, 3, 24, 30) and frames.min() >= 0 and frames.max() <= 1 and frames.std() > 0.01
    assert torch.equal(frames, render_path(gaussians, path, (24, 30), CpuRenderer(), chunk=100))


def test_colmap_and_nerfstudio_reproject_identically(tmp_path: Path) -> None:
    """Points seen through what either file says, by the formulas of either format's own documentation, in plain numpy."""
    cameras, size = smooth_cameras(), (48, 64)
    files = [f"{i:04d}.png" for i in range(5)]
    save_cameras(tmp_path / "transforms.json", cameras, size, files)
    points = torch.rand(20, 3, dtype=torch.float64) + torch.tensor([0.0, 0.0, 3.0])
    save_colmap(tmp_path / "sparse" / "0", cameras, size, files, points, torch.rand(20, 3))
    frames = json.loads((tmp_path / "transforms.json").read_text())["frames"]
    lenses = [line.split() for line in (tmp_path / "sparse" / "0" / "cameras.txt").read_text().splitlines()[1:]]
    images = [line.split() for line in (tmp_path / "sparse" / "0" / "images.txt").read_text().splitlines()[1::2]]
    assert [row[9] for row in images] == files
    for i, (frame, lens, image) in enumerate(zip(frames, lenses, images, strict=True)):
        # nerfstudio: camera to world with y up and z backward.
        to_camera = np.linalg.inv(np.array(frame["transform_matrix"]))
        x, y, z = (to_camera[:3, :3] @ points.numpy().T + to_camera[:3, 3:]) * np.array([[1], [-1], [-1]])
        theirs = np.stack([frame["fl_x"] * x / z + frame["cx"], frame["fl_y"] * y / z + frame["cy"]])
        # COLMAP: world to camera as a quaternion (w first), PINHOLE fx fy cx cy.
        w, a, b, c = (float(word) for word in image[1:5])
        cross = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
        rotation = np.eye(3) + 2 * w * cross + 2 * cross @ cross
        x, y, z = rotation @ points.numpy().T + np.array([[float(word)] for word in image[5:8]])
        fx, fy, cx, cy = (float(word) for word in lens[4:])
        np.testing.assert_allclose(np.stack([fx * x / z + cx, fy * y / z + cy]), theirs, atol=1e-5)
        ours, _ = project(points, cameras[i])
        np.testing.assert_allclose(ours.numpy().T, theirs, atol=1e-5)
    read, found, names = load_colmap(tmp_path / "sparse" / "0")
    assert (found, names) == (size, files)
    torch.testing.assert_close(read.world_to_camera, cameras.world_to_camera.float())
    torch.testing.assert_close(read.intrinsics, cameras.intrinsics.float())
    rows = [line.split() for line in (tmp_path / "sparse" / "0" / "points3D.txt").read_text().splitlines()[1:]]
    np.testing.assert_allclose([[float(word) for word in row[1:4]] for row in rows], points.numpy(), rtol=1e-7)


def test_colmap_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"have no blanks, 'a b.png' has"):
        save_colmap(tmp_path, smooth_cameras(1), (48, 64), ["a b.png"])
    with pytest.raises(ValueError, match="2 file names for cameras"):
        save_colmap(tmp_path, smooth_cameras(1), (48, 64), ["a.png", "b.png"])
    save_colmap(tmp_path, smooth_cameras(1), (48, 64), ["a.png"])
    (tmp_path / "cameras.txt").write_text("1 OPENCV 64 48 50 50 32 24 0 0 0 0\n")
    with pytest.raises(ValueError, match="camera model OPENCV; allowed: PINHOLE, SIMPLE_PINHOLE"):
        load_colmap(tmp_path)


def test_what_still_has_gradients_is_written_as_its_values(tmp_path: Path) -> None:
    """As a training has them: nobody should have to detach what is only saved."""
    cameras, points, colors = smooth_cameras(2), torch.rand(4, 3), torch.tensor([[0.0, 0.5, 1.0]]).repeat(4, 1)
    learned = Cameras(cameras.world_to_camera.clone().requires_grad_(), cameras.intrinsics.clone().requires_grad_())
    files = ["a.png", "b.png"]
    save_colmap(tmp_path / "plain", cameras, (48, 64), files, points, colors)
    save_colmap(tmp_path / "learned", learned, (48, 64), files, points.requires_grad_(), colors.requires_grad_())
    for name in ("cameras.txt", "images.txt", "points3D.txt"):
        assert (tmp_path / "plain" / name).read_text() == (tmp_path / "learned" / name).read_text()
    # Half of 255 is rounded to the even neighbor.
    assert [line.split()[4:7] for line in (tmp_path / "plain" / "points3D.txt").read_text().splitlines()[1:]] == [
        ["0", "128", "255"]
    ] * 4
    for path, seen_by in ((tmp_path / "plain.json", cameras), (tmp_path / "learned.json", learned)):
        save_cameras(path, seen_by, (48, 64), files)
    assert (tmp_path / "plain.json").read_text() == (tmp_path / "learned.json").read_text()


@pytest.mark.parametrize("key", ["w", "h"])
@pytest.mark.parametrize("frame", [0, 1, 2])
def test_one_frame_of_another_size_is_refused(tmp_path: Path, key: str, frame: int) -> None:
    """Whichever of three it is, the first one too."""
    pose = torch.eye(4).tolist()
    common = {"fl_x": 10.0, "fl_y": 10.0, "cx": 8.0, "cy": 6.0, "w": 16, "h": 12}
    frames = [{"file_path": f"{i}.png", "transform_matrix": pose, **common} for i in range(3)]
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps({"frames": frames}))
    assert load_cameras(path)[1] == (12, 16)
    frames[frame][key] = 20
    path.write_text(json.dumps({"frames": frames}))
    with pytest.raises(ValueError, match="frames of different sizes are not supported"):
        load_cameras(path)
