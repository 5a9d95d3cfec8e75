"""Views of a data set with their cameras: what every format gives, and how the curation reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vist3a.records.cameras import Cameras
from vist3a.scenes.formats.lens import Lens
from vist3a.scenes.picture import opened_picture, read_picture, stored_size
from vist3a.scenes.rejected import RejectedError

RIGID_TOLERANCE = 1e-2
"""Largest deviation of R R' from the identity: files hold few digits, but a scaled or mirrored pose is an error."""


@dataclass(frozen=True)
class DepthFile:
    """A 16-bit picture of z-depth. ``unit`` is the depth of the value 1; 0 and ``invalid`` mean that there is none.

    ``lens`` is that of the depth camera, which must share the pose of the colour camera.
    """

    path: Path
    unit: float
    lens: Lens
    invalid: int = 65535


@dataclass(frozen=True)
class PosedView:
    """One picture with its camera (world to camera, OpenCV axes)."""

    image: Path
    world_to_camera: Float[Tensor, "4 4"]
    lens: Lens
    depth: DepthFile | None = None


@dataclass(frozen=True)
class PosedViews:
    """Usable views in the order of the sequence, and one sentence per entry that is not usable."""

    views: tuple[PosedView, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class PosedScene:
    """Pictures of one scene of a data set as a stream of undistorted frames, with cameras and depth by number.

    ``load`` reads the format's files when first needed.
    """

    path: Path
    load: Callable[[Path], PosedViews]

    @cached_property
    def content(self) -> PosedViews:
        """What the files say.

        Raises:
            RejectedError: They cannot be read, or hold no usable view.
        """
        content = self.load(self.path)
        present, dropped = [], list(content.dropped)
        for view in content.views:
            try:
                lens = view.lens.for_size(*_whole_size(view.image))
                if view.depth is not None:
                    view.depth.lens.for_size(*_whole_size(view.depth.path))
            except RejectedError as reason:
                dropped.append(f"{view.image.name}: {reason}")
                continue
            present.append(PosedView(view.image, view.world_to_camera, lens, view.depth))
        if not present:
            raise RejectedError(f"no usable view ({'; '.join(dropped[:2]) or 'the list is empty'})")
        return PosedViews(tuple(present), tuple(dropped))

    def frames(self) -> Iterator[UInt8[Tensor, "3 rows columns"]]:
        """Undistorted pictures in the order of the views (stored rows and columns: cameras know nothing of EXIF turns)."""
        for view in self.content.views:
            yield view.lens.undistort(read_picture(view.image, upright=False))

    def pixel_aspect(self) -> float:
        """Pixels are square; what is not square is in the intrinsics."""
        return 1.0

    def cameras(self, indices: list[int], height: int, width: int) -> Cameras:
        """Cameras of some frames after ``resizing.fit``, float32, in the frame and unit of the data set."""
        views = [self.content.views[i] for i in indices]
        poses = torch.stack([view.world_to_camera for view in views])
        intrinsics = torch.stack([view.lens.fitted(height, width) for view in views])
        return Cameras(poses, intrinsics).to(dtype=torch.float32)

    def depth(self, indices: list[int], height: int, width: int) -> Float[Tensor, "views height width"] | None:
        """Depth of some frames after ``resizing.fit``: nearest value along each pixel's ray, 0 where there is none.

        None where any of the frames has no depth file.
        """
        files = [self.content.views[i].depth for i in indices]
        cameras = self.cameras(indices, height, width)
        maps = [
            _read_depth(file, cameras.intrinsics[k].double(), height, width)
            for k, file in enumerate(files)
            if file is not None
        ]
        return torch.stack(maps) if len(maps) == len(files) else None


def rigid_pose(matrix: Float[Tensor, "rows 4"]) -> Float[Tensor, "4 4"]:
    """A finite rigid transform with an exact rotation, from a [3, 4] or [4, 4] matrix.

    Raises:
        RejectedError: Not finite (as ScanNet writes lost poses), scaled or mirrored.
    """
    if not torch.isfinite(matrix).all():
        raise RejectedError("the pose is not finite (tracking was lost); finite numbers are needed")
    rotation = matrix[:3, :3].double()
    deviation = float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max())
    if deviation > RIGID_TOLERANCE or float(torch.det(rotation)) < 0:
        raise RejectedError(f"the pose is no rigid motion (R R' differs from the identity by {deviation:.2g})")
    u, _, vt = torch.linalg.svd(rotation)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = u @ vt, matrix[:3, 3].double()
    return pose


def inverse_pose(pose: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """World to camera from camera to world, and back."""
    inverse = torch.eye(4, dtype=pose.dtype)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def read_numbers(path: Path, rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    """A text file of numbers (nan and inf are numbers).

    Raises:
        RejectedError: Missing, or something else.
    """
    try:
        lines = [[float(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise RejectedError(f"{path.name} is missing or no text of numbers") from error
    if len(lines) != rows or any(len(line) != columns for line in lines):
        raise RejectedError(f"{path.name} has {len(lines)} lines; {rows} lines of {columns} numbers are needed")
    return torch.tensor(lines, dtype=torch.float64)


def picture_size(path: Path) -> tuple[int, int]:
    """Stored height and width, from the head of the file."""
    return stored_size(path, "the picture")


def _whole_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture that is there to its end."""
    height, width = picture_size(path)
    try:
        with opened_picture(path) as opened:
            opened.draft("RGB", (1, 1))  # JPEG: the smallest of its resolutions shows a cut as well
            opened.load()
    except RejectedError as error:
        raise RejectedError(f"{path.name} is damaged or cut short; a whole picture is needed") from error
    return height, width


def _read_depth(file: DepthFile, intrinsics: Tensor, height: int, width: int) -> Tensor:
    import numpy as np
    from PIL import Image

    try:
        with Image.open(file.path) as opened:
            values = torch.from_numpy(np.array(opened).astype(np.int64))
    except (OSError, SyntaxError, ValueError) as error:
        raise RejectedError(f"depth {file.path.name} cannot be read; a 16-bit PNG is needed") from error
    if values.ndim != 2:
        raise RejectedError(f"depth {file.path.name} has {values.ndim} axes; a picture of one channel is needed")
    lens = file.lens.for_size(*values.shape)
    x = (torch.arange(width) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (torch.arange(height) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]
    rays = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    rays = lens.distorted(rays) if any(lens.distortion) else rays
    column = (rays[..., 0] * lens.fx + lens.cx).floor().long()
    row = (rays[..., 1] * lens.fy + lens.cy).floor().long()
    inside = (row >= 0) & (row < values.shape[0]) & (column >= 0) & (column < values.shape[1])
    read = values[row.clamp(0, values.shape[0] - 1), column.clamp(0, values.shape[1] - 1)]
    return torch.where(inside & (read != file.invalid), read * file.unit, 0.0).float()
