"""An exported scene through the coordinates of nerfstudio's own parser, written anew from its description.

The parser turns and scales all poses (the mean of the cameras' up axes becomes +z, their mean centre the origin, the largest
coordinate 1) and moves the points of ``ply_file_path`` along. Without that key it makes the points from ``colmap/sparse/0``, and
without ``applied_transform`` it takes the poses for those of its own older conversion, whose axes were exchanged.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData
from scene_cases import small_scene

from vist3a.export.cameras import save_cameras
from vist3a.export.colmap import save_colmap
from vist3a.export.ply import save_point_cloud
from vist3a.export.scene import ExportSettings, save_scene
from vist3a.geometry.projection import unproject_depth
from vist3a.rendering.cpu import CpuRenderer
from vist3a_lab.procedural import WorldConfig, make_world

OLD = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]])


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    v, c = np.cross(a, b), float(a @ b)
    skew = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + skew + skew @ skew * ((1 - c) / (v @ v + 1e-8))


def homogeneous(matrix: np.ndarray) -> np.ndarray:
    return np.vstack([matrix, [0, 0, 0, 1]])


def parse(folder: Path) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Poses (OpenGL camera to world) and points in the parser's coordinates, and the frames."""
    meta = json.loads((folder / "transforms.json").read_text())
    frames = meta["frames"]
    poses = np.array([frame["transform_matrix"] for frame in frames], dtype=np.float32).astype(np.float64)
    turn = rotation_between(poses[:, :3, 1].mean(0), np.array([0.0, 0, 1]))
    transform = np.hstack([turn, turn @ -poses[:, :3, 3].mean(0)[:, None]])
    poses = transform @ poses
    scale = 1 / np.abs(poses[:, :, 3]).max()
    poses[:, :, 3] *= scale
    colmap = folder / "colmap" / "sparse" / "0"
    if "ply_file_path" in meta:
        vertex = PlyData.read(str(folder / meta["ply_file_path"]))["vertex"]
        points = np.stack([vertex["x"], vertex["y"], vertex["z"]], -1).astype(np.float64)
    else:
        applied = np.array(meta["applied_transform"]) if "applied_transform" in meta else OLD
        rows = [line.split() for line in (colmap / "points3D.txt").read_text().splitlines() if line[0] != "#"]
        points = np.array([[float(word) for word in row[1:4]] for row in rows])
        points = (np.hstack([points, np.ones((len(points), 1))]) @ homogeneous(applied).T)[:, :3]
    points = (np.hstack([points, np.ones((len(points), 1))]) @ transform.T) * scale
    return poses, points, frames


def share_seen(folder: Path) -> float:
    """Share of the points that lie in at least one picture."""
    poses, points, frames = parse(folder)
    seen = np.zeros(len(points), dtype=bool)
    for pose, frame in zip(poses, frames, strict=True):
        local = (points - pose[:, 3]) @ pose[:, :3]
        depth = -local[:, 2]  # OpenGL looks along -z
        x = frame["fl_x"] * local[:, 0] / depth + frame["cx"]
        y = -frame["fl_y"] * local[:, 1] / depth + frame["cy"]
        margin = 1e-3
        inside = (x > -margin) & (x < frame["w"] + margin) & (y > -margin) & (y < frame["h"] + margin)
        seen |= (depth > 0) & inside
    return float(seen.mean())


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    world = make_world(WorldConfig(seed=5, frames=5, height=24, width=32, supersample=1), [3])
    cameras, depth, rgb = world.cameras[0], world.depth[0], world.rgb[0].movedim(1, -1)
    known = torch.isfinite(depth) & (depth > 0)
    points, colors = unproject_depth(depth, cameras)[known], rgb[known]
    save_point_cloud(tmp_path / "points.ply", points, colors)
    names = [f"{i:04d}.png" for i in range(5)]
    save_cameras(tmp_path / "transforms.json", cameras, (24, 32), [f"images/{name}" for name in names], "points.ply")
    (tmp_path / "colmap" / "sparse" / "0").mkdir(parents=True)
    save_colmap(tmp_path / "colmap" / "sparse" / "0", cameras, (24, 32), names, points, colors)
    return tmp_path


def without(folder: Path, *keys: str) -> None:
    path = folder / "transforms.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k not in keys}))


def test_all_points_are_seen(exported):
    assert share_seen(exported) == 1.0


def test_either_key_is_enough(exported):
    without(exported, "ply_file_path")
    assert share_seen(exported) == 1.0


def test_without_both_the_points_are_elsewhere(exported):
    without(exported, "ply_file_path", "applied_transform")
    assert share_seen(exported) < 0.8


def test_all_points_of_a_saved_scene_are_seen(tmp_path):
    caption, frames, scene = small_scene()
    settings = ExportSettings(turntable_frames=2, turntable_size=16)
    save_scene(tmp_path, caption, frames, scene, None, CpuRenderer(), settings)
    assert json.loads((tmp_path / "transforms.json").read_text())["ply_file_path"] == "points.ply"
    assert share_seen(tmp_path) == 1.0
    without(tmp_path, "ply_file_path", "applied_transform")
    assert share_seen(tmp_path) < 0.8
