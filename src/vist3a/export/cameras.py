"""Cameras as ``transforms.json`` of nerfstudio (OpenGL camera to world: x right, y up, z backward)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records import Cameras
from vist3a.runtime.atomic import replacing

UNCHANGED = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
"""``applied_transform`` of files whose poses are those of the points: beside a COLMAP model without it, nerfstudio takes the axes
for those that its own conversion of such models once exchanged."""


def save_cameras(
    path: Path,
    cameras: Cameras,
    size: tuple[int, int],
    files: Sequence[str] | None = None,
    points: str | None = None,
) -> None:
    """Write views (cameras with one batch axis) of images of ``size`` (height, width).

    ``files`` are the images' paths relative to the JSON file; by default ``images/0000.png`` and so on. ``points`` is the path
    of a PLY file of points in the world frame of the cameras.
    """
    poses, intrinsics = cameras.camera_to_world.detach().cpu(), cameras.intrinsics.detach().cpu()
    if poses.ndim != 3:
        raise ValueError(f"cameras to be saved have one batch axis (views), not {poses.ndim - 2}")
    names = [f"images/{i:04d}.png" for i in range(len(poses))] if files is None else list(files)
    if len(names) != len(poses):
        raise ValueError(f"{len(poses)} cameras need as many file names, not {len(names)}")
    frames = [
        {
            "file_path": name,
            "fl_x": k[0, 0].item(),
            "fl_y": k[1, 1].item(),
            "cx": k[0, 2].item(),
            "cy": k[1, 2].item(),
            "w": size[1],
            "h": size[0],
            # From the right: the axes of the camera change, not those of the world.
            "transform_matrix": (pose @ _flip(pose)).tolist(),
        }
        for name, pose, k in zip(names, poses, intrinsics, strict=True)
    ]
    document: dict[str, Any] = {"camera_model": "PINHOLE", "applied_transform": UNCHANGED}
    if points is not None:
        document["ply_file_path"] = points
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**document, "frames": frames}, indent=1) + "\n")


def load_cameras(path: Path) -> tuple[Cameras, tuple[int, int], list[str]]:
    """Cameras (float32, one batch axis), image size (height, width) and file names of such a file.

    Intrinsics may stand per frame or once for all. Lens distortion is refused, as :class:`Cameras` cannot say it.
    """
    document = json.loads(path.read_text())
    frames = document.get("frames")
    if not frames:
        raise ValueError(f"{path} lists no frames")
    for key in ("k1", "k2", "k3", "k4", "p1", "p2"):
        if any(f.get(key, document.get(key, 0.0)) for f in frames):
            raise ValueError(f"{path}: lens distortion ({key}) is not supported, undistort the images first")

    def value(frame: dict[str, Any], key: str) -> float:
        if key not in frame and key not in document:
            raise ValueError(f"{path}: '{key}' stands neither in the frames nor at the top")
        return float(frame.get(key, document.get(key)))

    rows = [[value(f, key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")] for f in frames]
    fx, fy, cx, cy, width, height = torch.tensor(rows, dtype=torch.float64).unbind(-1)
    if (width != width[0]).any() or (height != height[0]).any():
        raise ValueError(f"{path}: frames of different sizes are not supported")
    poses = torch.tensor([f["transform_matrix"] for f in frames], dtype=torch.float64)
    to_world = Cameras(poses @ _flip(poses), torch.zeros(len(poses), 3, 3, dtype=torch.float64))
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    intrinsics = torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], -1).unflatten(-1, (3, 3))
    # The inverse of a rigid transform is the same formula in both directions.
    cameras = Cameras(to_world.camera_to_world, intrinsics).to(dtype=torch.float32)
    return cameras, (int(height[0]), int(width[0])), [str(f["file_path"]) for f in frames]


def _flip(pose: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "4 4"]:
    """Between the camera axes of OpenCV and OpenGL (its own inverse)."""
    return torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=pose.dtype))
