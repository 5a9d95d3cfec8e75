"""Video files as a stream of upright RGB frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from vist3a.data.frame_pixels import frame_pixels, orientation
from vist3a.data.rejected import RejectedError
from vist3a.data.video_container import announced_end, check_size, is_cover, opened_video

MISSING_SHARE = 0.02
"""Share of the announced frames, or of the announced length, that may be missing before a file counts as truncated."""
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these leave the alpha out, so that what was removed would come back."""


@dataclass(frozen=True)
class VideoFile:
    """One video on disk; every call of ``frames`` decodes it anew, so that no more than a few frames are held.

    Of several streams that one is read which FFmpeg takes for the best (a cover picture is none). Animations (GIF, APNG)
    are videos. Formats that do not say how long they are (TS, Ogg, NUT, raw streams) are read to their end, wherever that
    is. Empty packets, as recorders of screens write for a picture that stays, are no frames. Interlaced frames are
    deinterlaced, one for one.
    """

    path: Path

    def frames(self) -> Iterator[UInt8[Tensor, "3 rows columns"]]:
        """Frames in display order, as :func:`frame_pixels` gives them.

        Raises:
            RejectedError: No video, damaged, cut short, or in colours that cannot be read.
        """
        for _, frame in self.timed_frames():
            yield frame

    def timed_frames(self) -> Iterator[tuple[float, UInt8[Tensor, "3 rows columns"]]]:
        """Seconds from the start of the video (0 where the file does not say) and frame; as ``frames``."""
        with _one_sentence(), opened_video(self.path) as container:
            stream = _pictures(container)
            for frame in _progressive(stream, self._decoded(container, stream)):
                yield frame.time or 0.0, frame_pixels(frame)

    def pixel_aspect(self) -> float:
        """Width of a pixel over its height, of the upright picture; 1 where the file does not say."""
        try:
            with _one_sentence(), opened_video(self.path) as container:
                stream = _pictures(container)
                frame = next(container.decode(stream))
                aspect = float(stream.sample_aspect_ratio or 1)
                return 1.0 / aspect if orientation(frame)[0] else aspect
        except RejectedError:
            return 1.0  # frames() tells what is wrong

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Frames as stored, then the check that none is missing."""
        stream.thread_type = "AUTO"
        decode = _decoder(stream)
        # Whether the file is whole: packets of the stream, latest end of any packet, longest step between two.
        packets, end, latest, step = 0, 0.0, None, 0.0
        # Packets of all streams: sound may be what lasts to the stated end.
        for packet in container.demux():
            if packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not stream:
                continue
            if packet.dts is not None:
                now = float(packet.dts * packet.time_base)
                step, latest = max(step, now - latest if latest is not None else 0.0), now
            packets += packet.size > 0
            if packet.is_corrupt:
                raise RejectedError(f"the video is damaged at packet {packets}; a whole video file is needed")
            yield from decode(packet)
        check_size(self.path, container.format.name)
        # AVI has just been checked by its bytes.
        if container.format.name != "avi" and packets < stream.frames * (1 - MISSING_SHARE):
            raise RejectedError(f"the video is cut short: {packets} of its {stream.frames} frames are there")
        stated = announced_end(container)
        if end + step < stated * (1 - MISSING_SHARE):  # the last packet may not tell how long it is shown
            raise RejectedError(f"the video is cut short: {end:.2f} of its {stated:.2f} seconds are there")


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Whatever a decoder raises (MemoryError apart) as a RejectedError."""
    try:
        yield
    except (RejectedError, MemoryError):
        raise
    except Exception as error:
        detail = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
        raise RejectedError(f"the video cannot be decoded ({detail}); a whole video file is needed") from error


def _pictures(container: Any) -> Any:
    stream = container.streams.best("video")
    if stream is None:
        raise RejectedError("the file holds no video stream; a file with pictures is needed")
    if is_cover(stream):
        raise RejectedError("the file holds a cover picture but no video stream; a file with pictures is needed")
    return stream


def _decoder(stream: Any) -> Callable[[Any], list[Any]]:
    import av

    name = ALPHA_DECODERS.get(stream.codec_context.name)
    # In small letters from the track's own entry, in capitals where a copy of the file also has it as a tag.
    stated = {key.lower(): value for key, value in stream.metadata.items()}
    if name is None or stated.get("alpha_mode") != "1":
        return lambda packet: packet.decode()
    context = av.CodecContext.create(name, "r")

    def decode(packet: Any) -> list[Any]:
        if packet.size:
            return context.decode(packet)
        # The end of the stream is an empty packet without a time; it is None to this decoder, which then takes nothing more. One
        # with a time stands for a picture that stays.
        return context.decode(None) if packet.dts is None else []

    return decode


def _progressive(stream: Any, frames: Iterator[Any]) -> Iterator[Any]:
    """Frames, those after the first interlaced one through FFmpeg's filter, which leaves progressive ones alone."""
    import av

    graph = None
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if graph is None:
            graph = av.filter.Graph()
            nodes = (graph.add_buffer(template=stream), graph.add("bwdif", "mode=send_frame:deint=interlaced"))
            graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        graph.vpush(frame)
        yield from _filtered(graph)
    if graph is not None:
        # The end of the stream: what the filter has held back comes out.
        graph.vpush(None)
        yield from _filtered(graph)


def _filtered(graph: Any) -> Iterator[Any]:
    import av

    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            # It wants more input, or there is no more.
            return
