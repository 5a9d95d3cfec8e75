"""Nerfstudio and DL3DV: ``transforms.json`` with camera-to-world poses in OpenGL axes (x right, y up, z backward)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vist3a.scenes.formats.lens import BROWN, FISHEYE, Lens
from vist3a.scenes.formats.posed import DepthFile, PosedView, PosedViews, inverse_pose, picture_size, rigid_pose
from vist3a.scenes.image_folder import natural_order
from vist3a.scenes.rejected import RejectedError

FILE = "transforms.json"
MODELS = {
    "OPENCV": BROWN, "PINHOLE": BROWN, "SIMPLE_PINHOLE": BROWN, "SIMPLE_RADIAL": BROWN, "RADIAL": BROWN,
    "OPENCV_FISHEYE": FISHEYE,
}  # fmt: skip
REDUCED = ("images_2", "images_4", "images_8")
"""Folders of smaller pictures that DL3DV ships instead of the full-size ones that the file names."""


def is_scene(folder: Path) -> bool:
    """The folder holds the list of its views."""
    return (folder / FILE).is_file()


def load(folder: Path) -> PosedViews:
    """Views in the order of their file names (the list may have any order), intrinsics of the frame or of the whole file."""
    try:
        stated = json.loads((folder / FILE).read_text(encoding="utf-8"))
        entries = sorted(stated["frames"], key=lambda entry: natural_order(str(entry["file_path"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RejectedError(f"{FILE} is no JSON object with a list of frames that have a file_path") from error
    views, dropped = [], []
    for entry in entries:
        try:
            views.append(_view(folder, stated, entry))
        except RejectedError as reason:
            dropped.append(f"{entry['file_path']}: {reason}")
    return PosedViews(tuple(views), tuple(dropped))


def _view(folder: Path, stated: Mapping[str, Any], entry: Mapping[str, Any]) -> PosedView:
    image = _image(folder, str(entry["file_path"]))
    try:
        matrix = torch.tensor(entry["transform_matrix"], dtype=torch.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise RejectedError("transform_matrix is missing or no matrix of numbers") from error
    if matrix.shape not in ((3, 4), (4, 4)):
        raise RejectedError(f"transform_matrix has shape {tuple(matrix.shape)}; 4 x 4 is needed")
    pose = rigid_pose(matrix)
    pose[:3, 1:3] *= -1  # OpenGL camera axes to OpenCV: y down, z forward
    lens = _lens({**stated, **entry}, image)
    depth = None
    if "depth_file_path" in entry:
        unit = stated.get("depth_unit_scale_factor", 1e-3)
        if not isinstance(unit, int | float) or not unit > 0:
            raise RejectedError(f"depth_unit_scale_factor is {unit!r}; a positive number is needed")
        depth = DepthFile(_inside(folder, str(entry["depth_file_path"])), float(unit), lens)
    return PosedView(image, inverse_pose(pose), lens, depth)


def _image(folder: Path, name: str) -> Path:
    path = _inside(folder, name)
    if not path.suffix:  # the Blender layout names pictures without their ending
        path = path.with_suffix(".png")
    candidates = [path, *(folder / reduced / path.name for reduced in REDUCED)]
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RejectedError("the path leaves the folder of the scene")
    return path


def _lens(values: Mapping[str, Any], image: Path) -> Lens:
    model = str(values.get("camera_model", "OPENCV"))
    if model not in MODELS:
        raise RejectedError(f"camera_model {model}; allowed are {', '.join(MODELS)}: undistort the pictures first")
    try:
        height, width = (int(values["h"]), int(values["w"])) if {"h", "w"} <= values.keys() else picture_size(image)
        if "fl_x" in values:
            fx = float(values["fl_x"])
        else:
            fx = width / 2 / float(torch.tan(torch.tensor(float(values["camera_angle_x"]), dtype=torch.float64) / 2))
        fy = float(values.get("fl_y", fx))
        cx, cy = float(values.get("cx", width / 2)), float(values.get("cy", height / 2))
        names = ("k1", "k2", "k3", "k4") if MODELS[model] == FISHEYE else ("k1", "k2", "p1", "p2", "k3")
        distortion = tuple(float(values.get(name, 0.0)) for name in names)
        ignored = float(values.get("k4", 0.0)) if MODELS[model] == BROWN else 0.0
    except (KeyError, TypeError, ValueError) as error:
        raise RejectedError("the intrinsics are incomplete; fl_x (or camera_angle_x) is needed, as numbers") from error
    if ignored:
        raise RejectedError(f"k4 is {ignored:g}; of camera_model {model} only k1, k2, k3, p1 and p2 are known")
    if min(fx, fy) <= 0:
        raise RejectedError(f"focal lengths are {fx:g} and {fy:g}; positive ones are needed")
    return Lens(width, height, fx, fy, cx, cy, MODELS[model], distortion)
