"""Views of a data set with their cameras: what every format gives, and how the curation reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vist3a.data.formats.depth_map import DepthFile
from vist3a.data.formats.lens import Lens
from vist3a.data.formats.text import shown
from vist3a.data.picture import opened_picture, read_picture, stored_size
from vist3a.data.rejected import RejectedError
from vist3a.records.cameras import Cameras

RIGID_TOLERANCE = 1e-3
"""Largest deviation of R R' from the identity: files hold few digits, but a scaled, sheared or mirrored pose is an error.

A scaled one is refused in every format: whether depth and the other views have the scale as well, no file says.
"""
LARGEST = 1e10
"""Farthest coordinate of a camera: beyond it float64 does not hold a thousandth of a millimetre."""
FAR = 1e3
"""Cameras that lie farther from the origin than this many times their extent (maps in metres) get an origin among them."""


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
        present, dropped, seen = list[PosedView](), list(content.dropped), set[Path]()
        for view in content.views:
            try:
                # Pictures and depth are read to their end now: a damaged one costs its view, not the clip.
                lens = view.lens.for_size(*_whole_size(view.image))
                if view.depth is not None:
                    view.depth.check()
                if view.image in seen:
                    raise RejectedError("the picture is listed again; each is allowed once, the first one counts")
            except RejectedError as reason:
                dropped.append(f"{shown(view.image.name)}: {reason}")
                continue
            seen.add(view.image)
            present.append(PosedView(view.image, view.world_to_camera, lens, view.depth))
        if not present:
            raise RejectedError(f"no usable view ({summary(dropped)})")
        without = [view.image.name for view in present if view.depth is None]
        if 0 < len(without) < len(present):
            found = f"{len(without)} of {len(present)} views have no depth (first {shown(without[0])})"
            dropped.append(f"{found}; a clip that takes one of them has none")
        return PosedViews(tuple(present), tuple(dropped))

    def frames(self) -> Iterator[UInt8[Tensor, "3 rows columns"]]:
        """Undistorted pictures in the order of the views (stored rows and columns: cameras know nothing of EXIF turns)."""
        for view in self.content.views:
            yield view.lens.undistort(read_picture(view.image, upright=False))

    def pixel_aspect(self) -> float:
        """Pixels are square; what is not square is in the intrinsics."""
        return 1.0

    def cameras(self, indices: list[int], height: int, width: int) -> Cameras:
        """Cameras of some frames after ``resizing.fit``, float32, in the frame and unit of the data set.

        Where float32 would not hold the steps between cameras that lie far from the origin, the origin is moved to the first.
        """
        views = [self.content.views[i] for i in indices]
        poses = _near(torch.stack([view.world_to_camera for view in views]))
        intrinsics = torch.stack([view.lens.fitted(height, width) for view in views])
        return Cameras(poses, intrinsics).to(dtype=torch.float32)

    def depth(self, indices: list[int], height: int, width: int) -> Float[Tensor, "views height width"] | None:
        """Depth of some frames after ``resizing.fit``: nearest value along each pixel's ray, 0 where there is none.

        None where any of the frames has no depth file.
        """
        files = [self.content.views[i].depth for i in indices]
        cameras = self.cameras(indices, height, width)
        maps = [
            file.seen_by(cameras.intrinsics[k].double(), height, width)
            for k, file in enumerate(files)
            if file is not None
        ]
        return torch.stack(maps) if len(maps) == len(files) else None


def summary(dropped: Sequence[str]) -> str:
    """The first of many reasons, and how many there are."""
    more = f"; and {len(dropped) - 1} more" if len(dropped) > 1 else ""
    return f"{dropped[0]}{more}" if dropped else "the list is empty"


def rigid_pose(matrix: Float[Tensor, "rows 4"]) -> Float[Tensor, "4 4"]:
    """A finite rigid transform with an exact rotation, from a [3, 4] or [4, 4] matrix.

    Raises:
        RejectedError: Not finite (as ScanNet writes lost poses), scaled, sheared, mirrored, or farther away than any camera.
    """
    if not torch.isfinite(matrix).all():
        raise RejectedError("the pose is not finite (tracking was lost); finite numbers are needed")
    rotation, place = matrix[:3, :3].double(), matrix[:3, 3].double()
    deviation = float((rotation @ rotation.T - torch.eye(3, dtype=torch.float64)).abs().max())
    if deviation > RIGID_TOLERANCE or float(torch.det(rotation)) < 0:
        raise RejectedError(f"the pose is no rigid motion (R R' differs from the identity by {deviation:.2g})")
    if len(matrix) == 4 and not torch.equal(matrix[3].double(), torch.tensor([0, 0, 0, 1], dtype=torch.float64)):
        found = " ".join(f"{value:g}" for value in matrix[3].tolist())
        raise RejectedError(f"the last row of the pose is {found}; 0 0 0 1 is needed")
    if float(place.abs().max()) > LARGEST:
        raise RejectedError(f"the pose is {float(place.abs().max()):.2g} away; at most {LARGEST:.0g} is allowed")
    # The nearest rotation (polar decomposition), as files hold few digits.
    u, _, vt = torch.linalg.svd(rotation)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = u @ vt, place
    return pose


def inverse_pose(pose: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """World to camera from camera to world, and back."""
    inverse = torch.eye(4, dtype=pose.dtype)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def _near(poses: Float[Tensor, "views 4 4"]) -> Float[Tensor, "views 4 4"]:
    """World to camera, with the origin at the first camera if all are far away from the old one (float64)."""
    centers = torch.stack([inverse_pose(pose)[:3, 3] for pose in poses])
    extent = float((centers - centers[0]).norm(dim=-1).max())
    if float(centers.norm(dim=-1).max()) <= FAR * extent:
        return poses
    near = poses.clone()
    # t = -R (c - c0): the same cameras with the first center c0 as the origin.
    near[:, :3, 3] = -(poses[:, :3, :3] @ (centers - centers[0])[..., None])[..., 0]
    return near


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
