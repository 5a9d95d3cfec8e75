"""Cameras as the three text files of a COLMAP model: ``cameras.txt``, ``images.txt``, ``points3D.txt``.

COLMAP's conventions are those of :class:`~vist3a.records.Cameras`: world to camera, x right, y down, z forward, and the
centre of the first pixel at (0.5, 0.5). Quaternions are wxyz.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.quaternion import quaternion_from_rotation, rotation_from_quaternion
from vist3a.records import Cameras
from vist3a.runtime.atomic import replacing


def save_colmap(
    folder: Path,
    cameras: Cameras,
    size: tuple[int, int],
    files: Sequence[str],
    points: Float[Tensor, "n 3"] | None = None,
    colors: Float[Tensor, "n 3"] | None = None,
) -> None:
    """Write views (cameras with one batch axis) of images of ``size`` (height, width), one PINHOLE camera each.

    ``files`` are names relative to COLMAP's image folder. ``points`` with ``colors`` (RGB in [0, 1]) are optional; they carry no
    tracks.
    """
    if cameras.world_to_camera.ndim != 3 or len(files) != len(cameras.world_to_camera):
        raise ValueError(
            f"{folder}: {len(files)} file names for cameras of shape {tuple(cameras.world_to_camera.shape)}"
        )
    if (points is None) != (colors is None):
        raise ValueError(f"{folder}: points and colours come together")
    unfit = [name for name in files if not name or name.split() != [name]]
    if unfit:
        raise ValueError(f"{folder}: file names of COLMAP have no blanks, {unfit[0]!r} has")
    poses, intrinsics = cameras.world_to_camera.detach().double().cpu(), cameras.intrinsics.detach().cpu()
    quaternions = quaternion_from_rotation(poses[:, :3, :3])
    lenses, images = ["# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY"], ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"]
    for i, (name, pose, k, q) in enumerate(zip(files, poses, intrinsics, quaternions, strict=True), 1):
        lenses.append(f"{i} PINHOLE {size[1]} {size[0]} {_words([k[0, 0], k[1, 1], k[0, 2], k[1, 2]])}")
        # The empty line is the list of the image's 2D points.
        images += [f"{i} {_words([*q, *pose[:3, 3]])} {i} {name}", ""]
    cloud = ["# POINT3D_ID X Y Z R G B ERROR TRACK[]"]
    if points is not None and colors is not None:
        rgb = (colors.cpu().clamp(0, 1) * 255).round().to(torch.uint8).tolist()
        for i, ((x, y, z), (r, g, b)) in enumerate(zip(points.cpu().tolist(), rgb, strict=True), 1):
            cloud.append(f"{i} {x:.9g} {y:.9g} {z:.9g} {r} {g} {b} 0")
    for name, lines in (("cameras.txt", lenses), ("images.txt", images), ("points3D.txt", cloud)):
        with replacing(folder / name) as temporary:
            temporary.write_text("\n".join(lines) + "\n")


def load_colmap(folder: Path) -> tuple[Cameras, tuple[int, int], list[str]]:
    """Cameras (float32, one batch axis, in the order of the image ids), size (height, width) and file names.

    Models PINHOLE and SIMPLE_PINHOLE; all images must have one size.
    """
    lenses, sizes = {}, set()
    for line in _lines(folder / "cameras.txt"):
        number, model, width, height, *rest = line.split()
        values = [float(word) for word in rest]
        if model not in {"PINHOLE", "SIMPLE_PINHOLE"}:
            raise ValueError(f"{folder / 'cameras.txt'}: camera model {model}; allowed: PINHOLE, SIMPLE_PINHOLE")
        # SIMPLE_PINHOLE has one focal length for both axes.
        fx, fy, cx, cy = values if model == "PINHOLE" else [values[0], *values]
        lenses[number] = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
        sizes.add((int(height), int(width)))
    if len(sizes) != 1:
        raise ValueError(f"{folder / 'cameras.txt'}: {len(sizes)} image sizes; allowed: one")
    # Every second line lists 2D points; the lines of images have ten words.
    rows = [line.split(maxsplit=9) for line in _lines(folder / "images.txt", keep_empty=True)[::2]]
    rows = sorted((row for row in rows if len(row) == 10), key=lambda row: int(row[0]))
    if not rows:
        raise ValueError(f"{folder / 'images.txt'} lists no images")
    numbers = torch.tensor([[float(word) for word in row[1:8]] for row in rows], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    pose[:, :3, :3] = rotation_from_quaternion(torch.nn.functional.normalize(numbers[:, :4], dim=-1))
    pose[:, :3, 3] = numbers[:, 4:]
    intrinsics = torch.tensor([lenses[row[8]] for row in rows], dtype=torch.float64)
    return Cameras(pose, intrinsics).to(dtype=torch.float32), sizes.pop(), [row[9] for row in rows]


def _words(values: Sequence[Tensor] | Tensor) -> str:
    # Nine digits give every float32 back exactly.
    return " ".join(f"{float(value):.9g}" for value in values)


def _lines(path: Path, keep_empty: bool = False) -> list[str]:
    lines = [line.strip() for line in path.read_text().splitlines() if not line.startswith("#")]
    return lines if keep_empty else [line for line in lines if line]
