"""A candidate clip, checked: two passes over its frames, the first to measure, the second to keep the chosen ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vist3a.data.checks import Limits, Stretch, longest_stretch
from vist3a.data.formats.posed import PosedScene
from vist3a.data.frame_statistics import luma, moved_share
from vist3a.data.image_folder import ImageFolder
from vist3a.data.ordering import order_views
from vist3a.data.rejected import RejectedError
from vist3a.data.resizing import crop_box, fit
from vist3a.data.sampling import choose_views, fewest_views
from vist3a.data.sources import Source
from vist3a.data.view_distance import picture_distance
from vist3a.records.cameras import Cameras
from vist3a.records.frame_count import AllowedFrames, any_frames

Order = Literal["given", "similarity"]
"""Of the images of a folder: that of their names, or found from their pictures."""


@dataclass(frozen=True)
class Provenance:
    """Where the views of a clip come from, and what was measured on them (means over the views)."""

    source: str
    first: int
    stride: float
    sharpness: float
    brightness: float
    motion: float


@dataclass(frozen=True)
class CheckedClip:
    """Views that passed, at the size of the networks."""

    name: str
    caption: str
    frames: UInt8[Tensor, "views 3 height width"]
    provenance: Provenance
    cameras: Cameras | None = None
    depth: Float[Tensor, "views height width"] | None = None
    files: tuple[str, ...] = ()


def read_clip(
    source: Source,
    views: int,
    height: int,
    width: int,
    limits: Limits,
    order: Order = "given",
    allowed: AllowedFrames = any_frames,
) -> CheckedClip:
    """Measure, choose and keep at most ``views`` views of a candidate.

    ``order`` "similarity": the images of a folder come in no order, and become the smooth sequence that their pictures give.
    ``allowed`` is the rule of the video generator that will see the clip.

    Raises:
        RejectedError: It is unreadable or fails a check.
    """
    # First of all: a caption that cannot be read rejects the clip before any frame is decoded.
    caption = source.caption()
    files: list[str] = []
    if order == "similarity" and isinstance(source.reader, ImageFolder):
        reader = _smooth(source, source.reader, height, width)
        source, files = replace(source, reader=reader), [path.name for path in reader.paths()]
    stretch = longest_stretch(_fitted(source, height, width), limits, fewest_views(allowed))
    sharpness = [s.sharpness for s in stretch.statistics]
    positions, stride = choose_views(len(stretch.indices), views, limits.max_stride, sharpness, allowed)
    indices = [stretch.indices[p] for p in positions]
    frames = _keep(_fitted(source, height, width), indices)
    # Of the chosen views, as neighbors in a video hardly differ.
    motion = moved_share(luma(frames))
    if motion < limits.min_motion:
        least = f"at least {limits.min_motion:g} is allowed"
        raise RejectedError(f"the camera hardly moves (share of the picture that changes is {motion:.3f}; {least})")
    provenance = _provenance(source, stretch, positions, stride, motion)
    posed = source.reader if isinstance(source.reader, PosedScene) else None
    return CheckedClip(
        source.name, caption, frames, provenance,
        cameras=posed.cameras(indices, height, width) if posed else None,
        depth=posed.depth(indices, height, width) if posed else None,
        files=tuple(files[index] for index in indices) if files else (),
    )  # fmt: skip


def _smooth(source: Source, folder: ImageFolder, height: int, width: int) -> ImageFolder:
    # All frames at once, at the size of the networks: every pair is compared.
    frames = torch.stack(list(_fitted(source, height, width))).float() / 255
    return replace(folder, sequence=order_views(picture_distance(frames)).sequence)


def _provenance(source: Source, stretch: Stretch, positions: list[int], stride: float, motion: float) -> Provenance:
    chosen = [stretch.statistics[p] for p in positions]
    return Provenance(
        source=source.location,
        first=stretch.indices[positions[0]],
        stride=stride,
        sharpness=sum(s.sharpness for s in chosen) / len(chosen),
        brightness=sum(s.brightness for s in chosen) / len(chosen),
        motion=motion,
    )


def _fitted(source: Source, height: int, width: int) -> Iterator[Tensor]:
    pixel_aspect = source.reader.pixel_aspect()
    for frame in source.reader.frames():
        _, _, rows, columns = crop_box((frame.shape[1], frame.shape[2]), (height, width), pixel_aspect)
        if rows < height or columns < width:
            found = f"{frame.shape[2]}x{frame.shape[1]} pixels, of which {columns}x{rows} are used"
            raise RejectedError(f"the picture is too small: {found}; at least {width}x{height} are needed")
        yield fit(frame, height, width, pixel_aspect)


def _keep(frames: Iterator[Tensor], indices: list[int]) -> Tensor:
    wanted, kept = set(indices), []
    for index, frame in enumerate(frames):
        if index in wanted:
            kept.append(frame)
        if index == indices[-1]:
            break
    if len(kept) != len(indices):
        raise RejectedError("the file changed while it was read; nothing else may write to it")
    return torch.stack(kept)
