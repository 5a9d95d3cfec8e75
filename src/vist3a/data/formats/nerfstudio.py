"""Nerfstudio, DL3DV, instant-ngp and Blender: camera-to-world poses in OpenGL axes (x right, y up, z backward) as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.data.formats.depth_map import DepthFile
from vist3a.data.formats.lens import BROWN, FISHEYE, Lens
from vist3a.data.formats.picture_names import find_picture, inside, without_camera
from vist3a.data.formats.posed import PosedView, PosedViews, inverse_pose, picture_size, rigid_pose
from vist3a.data.formats.text import read_object, shown
from vist3a.data.image_folder import natural_order
from vist3a.data.rejected import RejectedError

FILE = "transforms.json"
PARTS = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
"""What the Blender layout has instead: one scene whose views are dealt to three files."""
MODELS = {
    "OPENCV": BROWN, "PINHOLE": BROWN, "SIMPLE_PINHOLE": BROWN, "SIMPLE_RADIAL": BROWN, "RADIAL": BROWN,
    "OPENCV_FISHEYE": FISHEYE,
}  # fmt: skip
OTHER_LENSES = ("ftheta_p0", "latlong", "equirectangular", "k5", "k6")
"""Keys of lenses that are not read."""
DISTORTION = {BROWN: ("k1", "k2", "p1", "p2", "k3"), FISHEYE: ("k1", "k2", "k3", "k4")}
# Of the fourth number of a Brown lens, OpenCV and nerfstudio mean different things.
FOREIGN = {BROWN: ("k4",), FISHEYE: ("p1", "p2")}
LONGEST_PATH = 1000


def is_scene(folder: Path) -> bool:
    """The folder holds the list of its views."""
    return bool(_files(folder))


def load(folder: Path) -> PosedViews:
    """Views in the order of their file names (the list may have any order), intrinsics of the frame or of the whole file.

    Raises:
        RejectedError: A file is no JSON object with a list of frames.
    """
    views: list[PosedView] = []
    dropped: list[str] = []
    listed: list[Path] = []
    for file in _files(folder):
        stated = read_object(folder / file)
        frames = stated.get("frames")
        if not isinstance(frames, list):
            raise RejectedError(f"{file} is no JSON object with a list of frames that have a file_path")
        names = [_name(entry) for entry in frames]
        dropped += [f"{file} frame {i}: file_path is missing or no path" for i, n in enumerate(names) if n is None]
        for name, entry in sorted(
            ((name, entry) for name, entry in zip(names, frames, strict=True) if name is not None),
            key=lambda named: natural_order(named[0]),
        ):
            try:
                image = find_picture(folder, name)
                listed.append(image)
                # Depth maps and masks may lie among the pictures, and must not count as pictures without a camera.
                listed += [
                    inside(folder, str(entry[key])) for key in ("depth_file_path", "mask_path") if entry.get(key)
                ]
                views.append(_view(folder, image, stated, entry))
            except RejectedError as reason:
                dropped.append(f"{shown(name)}: {reason}")
    return PosedViews(tuple(views), (*dropped, *without_camera(listed, " and ".join(_files(folder)), dropped)))


def _files(folder: Path) -> list[str]:
    if (folder / FILE).is_file():
        return [FILE]
    return [part for part in PARTS if (folder / part).is_file()]


def _name(entry: object) -> str | None:
    name = entry.get("file_path") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and 0 < len(name) <= LONGEST_PATH else None


def _view(folder: Path, image: Path, stated: Mapping[str, object], entry: Mapping[str, object]) -> PosedView:
    if "transform_matrix" not in entry:
        raise RejectedError("transform_matrix is missing")
    pose = rigid_pose(_matrix(entry["transform_matrix"]))
    pose[:3, 1:3] *= -1  # OpenGL camera axes to OpenCV: y down, z forward
    # What a frame states goes before what the file states for all.
    lens = _lens({**stated, **entry}, image)
    depth = None
    if entry.get("depth_file_path") is not None:
        unit = _number(stated, "depth_unit_scale_factor", 1e-3)
        if not 0 < unit < math.inf:
            raise RejectedError(f"depth_unit_scale_factor is {unit!r}; a positive number is needed")
        depth = DepthFile(inside(folder, str(entry["depth_file_path"])), unit, lens)
    return PosedView(image, inverse_pose(pose), lens, depth)


def _matrix(stated: object) -> Float[Tensor, "rows 4"]:
    if not isinstance(stated, list) or not all(isinstance(row, list) for row in stated):
        raise RejectedError("transform_matrix is no matrix of numbers")
    shape = sorted({len(row) for row in stated})
    if len(stated) not in (3, 4) or shape != [4]:
        found = f"{len(stated)} rows of {' or '.join(map(str, shape)) or 'no'} numbers"
        raise RejectedError(f"transform_matrix has {found}; 4 x 4 is needed")
    rows = [[_number({"transform_matrix": value}, "transform_matrix") for value in row] for row in stated]
    return torch.tensor(rows, dtype=torch.float64)


def _lens(values: Mapping[str, object], image: Path) -> Lens:
    model = _model(values)
    if ("w" in values) != ("h" in values):
        raise RejectedError("of w and h one is missing; both or none are needed")
    if "w" in values:
        height, width = _size(values, "h"), _size(values, "w")
    else:
        height, width = picture_size(image)
    # In pixels, as nerfstudio writes it, or as an angle of view (Blender, instant-ngp).
    if "fl_x" in values:
        fx = _number(values, "fl_x")
    elif "camera_angle_x" in values:
        fx = _focal(values, "camera_angle_x", width)
    else:
        raise RejectedError("the intrinsics are incomplete; fl_x (or camera_angle_x) is needed, as numbers")
    if "fl_y" in values:
        fy = _number(values, "fl_y")
    else:
        # With nothing said of the vertical, pixels are square.
        fy = _focal(values, "camera_angle_y", height) if "camera_angle_y" in values else fx
    cx, cy = _number(values, "cx", width / 2), _number(values, "cy", height / 2)
    distortion = tuple(_number(values, name, 0.0) for name in DISTORTION[model])
    for name in FOREIGN[model]:
        if value := _number(values, name, 0.0):
            raise RejectedError(f"{name} is {value:g}; of this lens only {', '.join(DISTORTION[model])} are known")
    return Lens(width, height, fx, fy, cx, cy, model, distortion)


def _model(values: Mapping[str, object]) -> str:
    """The kind of lens: by nerfstudio's ``camera_model`` or by instant-ngp's ``is_fisheye``, which must not disagree."""
    name, fisheye = values.get("camera_model", "OPENCV"), values.get("is_fisheye", False)
    if not isinstance(name, str) or name not in MODELS:
        raise RejectedError(
            f"camera_model {shown(name)}; allowed are {', '.join(MODELS)}: undistort the pictures first"
        )
    for key in OTHER_LENSES:
        if values.get(key):
            raise RejectedError(f"{key} belongs to a lens that is not read: undistort the pictures first")
    if not isinstance(fisheye, bool | int) or fisheye not in (0, 1):
        raise RejectedError(f"is_fisheye is {shown(fisheye)}; true or false is needed")
    if fisheye and "camera_model" in values and MODELS[name] != FISHEYE:
        raise RejectedError(f"camera_model {name} is no fisheye lens, but is_fisheye is true; one lens is needed")
    return FISHEYE if fisheye else MODELS[name]


def _focal(values: Mapping[str, object], key: str, size: int) -> float:
    angle = _number(values, key)
    if not 0 < angle < math.pi:
        raise RejectedError(f"{key} is {angle:g}; an angle between 0 and pi is needed")
    return size / 2 / math.tan(angle / 2)


def _size(values: Mapping[str, object], key: str) -> int:
    size = _finite(values, key)
    if not size.is_integer():
        raise RejectedError(f"{key} is {size:g}; a whole number of pixels is needed")
    return int(size)


def _finite(values: Mapping[str, object], key: str) -> float:
    value = _number(values, key)
    if not math.isfinite(value):
        raise RejectedError(f"{key} has {value}; finite numbers are needed")
    return value


def _number(values: Mapping[str, object], key: str, default: float | None = None) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedError(f"{key} is {shown(repr(value))}; a number is needed")
    try:
        return float(value)
    except OverflowError as error:
        raise RejectedError(f"{key} is a number of {len(str(value))} digits; no such number is meant") from error
