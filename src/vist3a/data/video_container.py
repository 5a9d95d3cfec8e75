"""Files that FFmpeg opens: which ones may be tried, and what their heads say about their length."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from vist3a.data.rejected import RejectedError

REFERRING = frozenset({"concat", "dash", "hls", "image2", "image2pipe", "imf", "rtp", "rtsp", "sap", "sdp", "vobsub"})
"""Formats that are lists of other files or addresses: what lies outside the file is not opened."""
NO_FILES = frozenset({"avif", "lavfi", "tty", "alsa", "fbdev", "kmsgrab", "oss", "video4linux2,v4l2", "x11grab"})
"""Pictures, devices, and text drawn as a picture."""
NO_VIDEO = frozenset({"none", "png", "bmp", "rawvideo", "fits", "webp"})
"""Codecs of cover pictures, stills, and streams without a size."""
STATING_END = frozenset({"matroska,webm", "flv", "asf"})
"""Formats whose head states the length of the whole, and of which a part can be opened."""
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""Name of the part of an ASF (WMV) file that holds the file's size, 40 bytes on."""
ASF_HEAD, GIF_TAIL = 65536, 64
UNSTATED_SIZES = frozenset({0, 2**32 - 1})


@cache
def video_endings() -> frozenset[str]:
    """Endings of videos, in lower case with their dot: those of all containers that FFmpeg writes video into."""
    import av
    from av.format import ContainerFormat

    endings: set[str] = set()
    for name in av.formats_available - REFERRING - NO_FILES:
        try:
            kind = ContainerFormat(name, "w")
        except ValueError:  # can only be read
            continue
        if kind.no_file or not kind.extensions:
            continue
        # Only an opened muxer tells its default codec.
        with av.open(io.BytesIO(), "w", format=name) as container:
            if container.default_video_codec not in NO_VIDEO:
                endings |= kind.extensions
    return frozenset(f".{ending.strip().lower()}" for ending in endings)


@contextmanager
def opened_video(path: Path) -> Iterator[Any]:
    """The file opened by PyAV: only itself, never what it refers to."""
    import av

    options = {"format_whitelist": ",".join(_readable_formats()), "protocol_whitelist": "file"}
    # Absolute: FFmpeg would take what stands before a colon in a bare name for a protocol.
    with av.open(str(path.absolute()), options=options, metadata_errors="ignore") as container:
        yield container


def holds_video(path: Path) -> bool:
    """Whether a file of any ending has a stream of video, by its content (a still picture is none)."""
    try:
        with opened_video(path) as container:
            stream = container.streams.best("video")
            # FFmpeg's demuxers of single pictures are all called so: png_pipe, jpeg_pipe.
            still = container.format.name.endswith("_pipe")
            return stream is not None and not is_cover(stream) and not still
    except MemoryError:
        raise
    except Exception:
        return False


def is_cover(stream: Any) -> bool:
    """Whether a stream is one picture attached to music."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def announced_end(container: Any) -> float:
    """Seconds at which the last packet ends by the head of the file; 0 where it does not say."""
    if container.format.name not in STATING_END or container.duration is None:
        return 0.0
    return float(container.duration) / 1e6


def check_size(path: Path, kind: str) -> None:
    """For files whose counts of frames do not tell: are all bytes there that the head states, or the mark of the end?

    Raises:
        RejectedError: An AVI, ASF or GIF file ends early.
    """
    size, start = path.stat().st_size, 0
    with path.open("rb") as file:
        if kind == "avi":
            # A chain of RIFF parts: large AVI files have several (OpenDML).
            while start + 8 <= size:
                file.seek(start)
                length = struct.unpack("<4xI", file.read(8))[0]
                # A recorder that wrote to a pipe, or was stopped, could not fill it in.
                if length in UNSTATED_SIZES:
                    return
                start += 8 + length + length % 2
            start -= 1  # the last part may lack its padding
        elif kind == "asf":
            head = file.read(ASF_HEAD)
            place = head.find(ASF_PROPERTIES)
            if 0 <= place <= len(head) - 48:
                start = struct.unpack_from("<Q", head, place + 40)[0]
        elif kind == "gif":
            file.seek(max(0, size - GIF_TAIL))
            if not file.read().rstrip(b"\0").endswith(b";"):
                raise RejectedError("the video is cut short: the mark of a GIF's end is missing")
    if start > size:
        raise RejectedError(f"the video is cut short: {size} of its {start} bytes are there")


@cache
def _readable_formats() -> tuple[str, ...]:
    import av
    from av.format import ContainerFormat

    names = av.formats_available - REFERRING - NO_FILES
    return tuple(sorted(name for name in names if ContainerFormat(name).is_input))
