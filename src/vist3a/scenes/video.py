"""Video files as a stream of upright RGB frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from vist3a.scenes.rejected import RejectedError

SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".gif"})
MISSING_SHARE = 0.02
"""Share of the announced frames that may be missing before a file counts as truncated."""


@dataclass(frozen=True)
class VideoFile:
    """One video on disk; every call of ``frames`` decodes it anew, so that no more than one frame is held."""

    path: Path

    def frames(self) -> Iterator[UInt8[Tensor, "3 rows columns"]]:
        """Frames in display order, turned upright by the rotation that the file states.

        Raises:
            RejectedError: No video, damaged or cut short.
        """
        for _, frame in self.timed_frames():
            yield frame

    def timed_frames(self) -> Iterator[tuple[float, UInt8[Tensor, "3 rows columns"]]]:
        """Seconds from the start of the video (0 where the file does not say) and frame; as ``frames``."""
        import av

        try:
            yield from self._decode()
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, RejectedError):
                raise
            detail = getattr(error, "strerror", None) or str(error)
            raise RejectedError(f"the video cannot be decoded ({detail}); a whole video file is needed") from error

    def pixel_aspect(self) -> float:
        """Width of a pixel over its height, of the upright picture; 1 where the file does not say."""
        import av

        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stated = stream.sample_aspect_ratio
                frame = next(container.decode(stream))
        except (av.error.FFmpegError, IndexError, StopIteration):
            return 1.0  # frames() tells what is wrong
        aspect = float(stated) if stated else 1.0
        return 1.0 / aspect if (frame.rotation // 90) % 2 else aspect

    def _decode(self) -> Iterator[tuple[float, Tensor]]:
        import av

        with av.open(str(self.path)) as container:
            if not container.streams.video:
                raise RejectedError("the file holds no video stream; a file with pictures is needed")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            announced, packets = stream.frames, 0
            for packet in container.demux(stream):
                packets += packet.size > 0
                if packet.is_corrupt:
                    raise RejectedError(f"the video is damaged at packet {packets}; a whole video file is needed")
                for frame in packet.decode():
                    upright = _turn(torch.from_numpy(frame.to_ndarray(format="rgb24")), frame.rotation)
                    yield frame.time or 0.0, upright.permute(2, 0, 1)
            if packets < announced * (1 - MISSING_SHARE):
                raise RejectedError(f"the video is cut short: {packets} of its {announced} frames are there")


def _turn(pixels: Tensor, degrees: int) -> Tensor:
    """Rotate [rows, columns, 3] counter-clockwise by a multiple of 90 degrees (others are rounded)."""
    turns = round(degrees / 90) % 4
    return torch.rot90(pixels, turns, (0, 1)) if turns else pixels
