"""COLMAP models in text and binary, and ETH3D's undistorted photographs, which come as one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records.cameras import Cameras
from vist3a.scenes.formats.lens import Lens, colmap_lens
from vist3a.scenes.formats.posed import PosedView, PosedViews, rigid_pose
from vist3a.scenes.ordering import order_views
from vist3a.scenes.rejected import RejectedError
from vist3a.scenes.view_distance import camera_distance

PLACES = ("sparse/0", "sparse", "colmap/sparse/0", "dslr_calibration_undistorted", "dslr_calibration_jpg")
"""Folders that hold the model: COLMAP's own, nerfstudio's, and the two of ETH3D (undistorted, as photographed)."""
BINARY_MODELS = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE",
)  # fmt: skip
PARAMETERS = (3, 4, 4, 5, 8, 8, 12, 5, 4, 5, 12)


@dataclass(frozen=True)
class _Camera:
    model: str
    width: int
    height: int
    parameters: list[float]


@dataclass(frozen=True)
class _Image:
    name: str
    camera: int
    numbers: tuple[float, ...]  # quaternion wxyz and translation of world to camera


def is_scene(folder: Path) -> bool:
    """A folder of images with a model in one of the usual places."""
    return (folder / "images").is_dir() and _model(folder) is not None


def load(folder: Path) -> PosedViews:
    """Registered pictures along the shortest path through their cameras (a COLMAP model has no order)."""
    model = _model(folder)
    assert model is not None
    try:
        if (model / "images.bin").is_file():
            cameras, images = _binary_cameras(model / "cameras.bin"), list(_binary_images(model / "images.bin"))
        else:
            cameras, images = _text_cameras(model / "cameras.txt"), list(_text_images(model / "images.txt"))
    except (OSError, ValueError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise RejectedError(
            f"the COLMAP model in {model.name} is damaged; whole cameras and images are needed"
        ) from error
    views, dropped = [], []
    for image in sorted(images, key=lambda image: image.name):
        try:
            views.append(_view(folder / "images", image, cameras))
        except RejectedError as reason:
            dropped.append(f"{image.name}: {reason}")
    return PosedViews(_smooth(views), tuple(dropped))


def _model(folder: Path) -> Path | None:
    for place in PLACES:
        for ending in (".bin", ".txt"):
            if all((folder / place / f"{part}{ending}").is_file() for part in ("cameras", "images")):
                return folder / place
    return None


def _view(pictures: Path, image: _Image, cameras: dict[int, _Camera]) -> PosedView:
    path = pictures / image.name
    if not path.resolve().is_relative_to(pictures.resolve()):
        raise RejectedError("the name leaves the folder of the images")
    if image.camera not in cameras:
        raise RejectedError(f"camera {image.camera} is not in the list of cameras")
    camera = cameras[image.camera]
    lens: Lens = colmap_lens(camera.model, camera.width, camera.height, camera.parameters)
    numbers = torch.tensor(image.numbers, dtype=torch.float64)
    pose = torch.cat([rotation_from_quaternion(numbers[:4]), numbers[4:, None]], dim=1)
    return PosedView(path, rigid_pose(pose), lens)


def _smooth(views: list[PosedView]) -> tuple[PosedView, ...]:
    if len(views) < 2:
        return tuple(views)
    poses = torch.stack([view.world_to_camera for view in views])
    cameras = Cameras(poses, torch.eye(3, dtype=torch.float64).expand(len(views), 3, 3))
    return tuple(views[i] for i in order_views(camera_distance(cameras), stride=1).sequence)


def _text_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def _text_cameras(path: Path) -> dict[int, _Camera]:
    """Lines CAMERA_ID MODEL WIDTH HEIGHT PARAMETERS."""
    words = [line.split() for line in _text_lines(path) if line.strip()]
    return {int(w[0]): _Camera(w[1], int(w[2]), int(w[3]), [float(value) for value in w[4:]]) for w in words}


def _text_images(path: Path) -> Iterator[_Image]:
    """Two lines per image: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then its points, which may be an empty line."""
    lines = _text_lines(path)
    while lines and not lines[0].strip():
        lines.pop(0)
    for line in lines[::2]:
        if line.strip():
            words = line.split(maxsplit=9)  # names may hold spaces
            yield _Image(words[9], int(words[8]), tuple(float(word) for word in words[1:8]))


def _binary_cameras(path: Path) -> dict[int, _Camera]:
    content = path.read_bytes()
    (count,) = struct.unpack_from("<Q", content)
    place, cameras = 8, {}
    for _ in range(count):
        identity, kind, width, height = struct.unpack_from("<iiQQ", content, place)
        if not 0 <= kind < len(BINARY_MODELS):
            raise ValueError(f"camera model number {kind}")
        parameters = struct.unpack_from(f"<{PARAMETERS[kind]}d", content, place + 24)
        place += 24 + 8 * PARAMETERS[kind]
        cameras[identity] = _Camera(BINARY_MODELS[kind], width, height, list(parameters))
    return cameras


def _binary_images(path: Path) -> Iterator[_Image]:
    content = path.read_bytes()
    (count,) = struct.unpack_from("<Q", content)
    place = 8
    for _ in range(count):
        numbers = struct.unpack_from("<i7di", content, place)
        end = content.index(b"\0", place + 64)
        (points,) = struct.unpack_from("<Q", content, end + 1)
        yield _Image(content[place + 64 : end].decode("utf-8"), numbers[8], numbers[1:8])
        place = end + 9 + 24 * points
