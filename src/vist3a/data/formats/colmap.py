"""COLMAP models in text and binary, and ETH3D's undistorted photographs, which come as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from vist3a.data.formats.colmap_files import ModelCamera, ModelImage, ModelPart, binary_model, text_model
from vist3a.data.formats.lens import colmap_lens
from vist3a.data.formats.picture_names import REDUCED, find_picture, without_camera
from vist3a.data.formats.posed import PosedView, PosedViews, rigid_pose
from vist3a.data.formats.text import shown
from vist3a.data.ordering import order_views
from vist3a.data.rejected import RejectedError
from vist3a.data.view_distance import camera_distance
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records.cameras import Cameras

PLACES = ("sparse/0", "sparse", "colmap/sparse/0", "dslr_calibration_undistorted", "dslr_calibration_jpg")
"""Folders that hold the model: COLMAP's own, nerfstudio's, and the two of ETH3D (undistorted, as photographed)."""
SPLIT = ("sparse", "colmap/sparse")
"""Folders in which COLMAP numbers its models, where the pictures did not hold together: the first need not be the largest."""
READERS = {".bin": binary_model, ".txt": text_model}
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Model:
    """What could be read of one model."""

    place: str
    part: ModelPart

    @property
    def names(self) -> set[str]:
        return {image.name for image in self.part.images}


def is_scene(folder: Path) -> bool:
    """A folder of images with a model in one of the usual places."""
    return any((folder / name).is_dir() for name in ("images", *REDUCED)) and bool(_places(folder))


def load(folder: Path) -> PosedViews:
    """Registered pictures of the largest model, along the shortest path through their cameras (a model has no order).

    Raises:
        RejectedError: No model is whole.
    """
    models, damaged = [], []
    for place, ending in _places(folder):
        try:
            models.append(_Model(place, READERS[ending](folder / place)))
        except RejectedError as reason:
            damaged.append(str(reason))
    if not models:
        raise RejectedError("; ".join(damaged))
    model = max(models, key=lambda model: len(model.part.images))  # of equals the first
    views, listed, dropped = [], [], [*damaged, *model.part.dropped]
    for other in models:
        if beside := other.names - model.names:
            found = f"{len(beside)} of its pictures are not in {model.place}"
            dropped.append(f"{other.place}: {found}; only the largest model is read")
    for image in sorted(model.part.images, key=lambda image: image.name):
        try:
            path = find_picture(folder / "images", image.name, reduced=folder)
            listed.append(path)
            views.append(_view(path, image, model.part.cameras))
        except RejectedError as reason:
            dropped.append(f"{shown(image.name)}: {reason}")
    return PosedViews(_smooth(views), (*dropped, *without_camera(listed, model.place, dropped)))


def _places(folder: Path) -> list[tuple[str, str]]:
    """Where models are, and the ending of their files (binary before text)."""
    numbered = [f"{top}/{path.name}" for top in SPLIT for path in sorted((folder / top).glob("*")) if path.is_dir()]
    found = []
    # Each place once, the usual ones first.
    for place in dict.fromkeys([*PLACES, *numbered]):
        for ending in READERS:
            if all((folder / place / f"{part}{ending}").is_file() for part in ("cameras", "images")):
                found.append((place, ending))
                break
    return found


def _view(path: Path, image: ModelImage, cameras: Mapping[int, ModelCamera]) -> PosedView:
    if image.camera not in cameras:
        raise RejectedError(f"camera {image.camera} is not in the list of cameras")
    camera = cameras[image.camera]
    lens = colmap_lens(camera.model, camera.width, camera.height, camera.parameters)
    numbers = torch.tensor(image.numbers, dtype=torch.float64)
    length = float(numbers[:4].norm())
    if not abs(length - 1) <= UNIT_TOLERANCE:
        raise RejectedError(f"the quaternion has length {length:g}; 1 is needed")
    pose = torch.cat([rotation_from_quaternion(numbers[:4]), numbers[4:, None]], dim=1)
    return PosedView(path, rigid_pose(pose), lens)


def _smooth(views: list[PosedView]) -> tuple[PosedView, ...]:
    if len(views) < 2:
        return tuple(views)
    poses = torch.stack([view.world_to_camera for view in views])
    # Their distances are of poses alone; the intrinsics are placeholders.
    cameras = Cameras(poses, torch.eye(3, dtype=torch.float64).expand(len(views), 3, 3))
    return tuple(views[i] for i in order_views(camera_distance(cameras)).sequence)
