"""RealEstate10K: a text of cameras per clip, beside a folder of frames named by time stamp, or the video itself.

The first line is the address of the video; each further one holds a time in microseconds, fx fy cx cy in units of the picture's
width and height, two zeros, and the 3 x 4 matrix of world to camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from vist3a.data.formats.lens import Lens
from vist3a.data.formats.picture_names import without_camera
from vist3a.data.formats.posed import PosedScene, PosedView, PosedViews, rigid_pose, summary
from vist3a.data.formats.text import number, read_head, read_text, whole
from vist3a.data.image_folder import image_paths
from vist3a.data.rejected import RejectedError
from vist3a.data.video import VideoFile
from vist3a.data.video_container import video_endings

NUMBERS = 19
MICROSECONDS = 1e6
HEAD = 8192
"""Bytes of a text that show whether it is one of cameras."""
LATE = 0.05
"""Seconds that the nearest frame of a video may lie from the stated time: more than a frame's length off is another picture."""


def is_camera_text(path: Path) -> bool:
    """An address, then lines of 19 numbers; a damaged one is still known by most of a line."""
    if path.suffix.lower() != ".txt":
        return False
    try:
        lines = read_head(path, HEAD).splitlines()
    except OSError:
        return False
    return any(_numbers(line) > NUMBERS // 2 for line in lines[:4])


def footage(path: Path) -> Path | None:
    """What the text's cameras belong to: a folder or a video of its name beside it."""
    if path.with_suffix("").is_dir():
        return path.with_suffix("")
    return next((video for s in sorted(video_endings()) if (video := path.with_suffix(s)).is_file()), None)


def load(path: Path) -> PosedViews:
    """Views in the order of time; without footage every one is missing. A view of a video is named by its time stamp."""
    source = footage(path)
    files = {image.stem: image for image in image_paths(source)} if source is not None and source.is_dir() else {}
    views: dict[int, PosedView] = {}
    dropped = []
    for place, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or (place == 1 and _numbers(line) <= NUMBERS // 2):  # the address
            continue
        try:
            stamp, view = _view(line)
            if stamp in views:
                raise RejectedError(f"the time {stamp} is listed again; each is allowed once, the first one counts")
            if source is not None and source.is_dir():
                if str(stamp) not in files:
                    raise RejectedError(f"no frame {stamp} in {source.name}")
                view = replace(view, image=files[str(stamp)])
            views[stamp] = view
        except RejectedError as reason:
            dropped.append(f"{path.name} line {place}: {reason}")
    listed = [view.image for view in views.values()] if files else []
    return PosedViews(
        tuple(views[stamp] for stamp in sorted(views)), (*dropped, *without_camera(listed, path.name, dropped))
    )


class PosedVideo(PosedScene):
    """Cameras of a text with the frames of the video beside it."""

    @cached_property
    def content(self) -> PosedViews:
        """Views whose time lies in the video.

        Raises:
            RejectedError: The video cannot be read, or shows none of the times.
        """
        stated = self.load(self.path)
        times = [_seconds(view) for view in stated.views]
        # A first pass over the video: which times have a frame, and how large it is.
        size, seen = (0, 0), list[int]()
        for index, frame in self._matched(times):
            size = (frame.shape[1], frame.shape[2])
            seen.append(index)
        missing = sorted(set(range(len(times))) - set(seen))
        dropped = [f"{self.path.name}: the video has no frame at {times[i]:.3f} s" for i in missing]
        if not seen:
            raise RejectedError(f"no usable view ({summary([*stated.dropped, *dropped])})")
        views = [replace(stated.views[i], lens=stated.views[i].lens.for_size(*size)) for i in seen]
        return PosedViews(tuple(views), (*stated.dropped, *dropped))

    def frames(self) -> Iterator[UInt8[Tensor, "3 rows columns"]]:
        """Frames of the video nearest to the stated times."""
        for _, frame in self._matched([_seconds(view) for view in self.content.views]):
            yield frame

    def _matched(self, times: list[float]) -> Iterator[tuple[int, Tensor]]:
        """Number of a time, and the nearest frame, for every time that has one. Holds two frames."""
        video = footage(self.path)
        if video is None:
            return
        wanted, before = 0, None
        for now in VideoFile(video).timed_frames():
            # Every stated time between two frames takes the nearer one.
            while before is not None and wanted < len(times) and times[wanted] <= now[0]:
                nearest = before if times[wanted] - before[0] <= now[0] - times[wanted] else now
                if abs(nearest[0] - times[wanted]) <= LATE:
                    yield wanted, nearest[1]
                wanted += 1
            before = now
        # Times behind the last frame.
        for index in range(wanted, len(times)):
            if before is not None and abs(times[index] - before[0]) <= LATE:
                yield index, before[1]


def _seconds(view: PosedView) -> float:
    return int(view.image.name) / MICROSECONDS


def _numbers(line: str) -> int:
    """How many words of a line are numbers."""
    found = 0
    for word in line.split():
        try:
            number(word)
        except ValueError:
            continue
        found += 1
    return found


def _view(line: str) -> tuple[int, PosedView]:
    words = line.split()
    if len(words) != NUMBERS:
        raise RejectedError(f"{len(words)} numbers; {NUMBERS} are needed")
    try:
        stamp, numbers = whole(words[0]), torch.tensor([number(word) for word in words[1:]], dtype=torch.float64)
    except ValueError as error:
        raise RejectedError("found something other than numbers") from error
    fx, fy, cx, cy, *distortion = numbers[:6].tolist()
    if not (fx > 0 and fy > 0):
        raise RejectedError(f"focal lengths are {fx:g} and {fy:g}; positive ones are needed")
    if distortion != [0, 0]:
        raise RejectedError(f"{distortion[0]:g} and {distortion[1]:g} stand before the pose; two zeros are needed")
    # Stated in units of width and height, whatever the size of the footage.
    lens = Lens(1, 1, fx, fy, cx, cy)
    return stamp, PosedView(Path(str(stamp)), rigid_pose(numbers[6:].reshape(3, 4)), lens)
