"""Videos as people have them, encoded for tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from picture_kinds import bytes_of, colours

WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""Of red and blue in luma, by the numbers of ITU-T H.273."""
UPRIGHT = (1, 0, 0, 1)
TURNED = {
    "mirrored": ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
    "half": ((-1, 0, 0, -1), lambda x: x[::-1, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda x: x[::-1]),
    "transposed": ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)),
    "clockwise": ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    "counter-clockwise": ((0, -1, 1, 0), lambda x: np.rot90(x, 1)),
    "transverse": ((0, -1, -1, 0), lambda x: x[::-1, ::-1].swapaxes(0, 1)),
    "upright": (UPRIGHT, lambda x: x),
}
"""Matrices (a, b, c, d) that show a pixel (x, y), y down, at (a x + c y, b x + d y), and what they do to rows and columns."""


def clip(seed: int, views: int = 6, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Bytes [rows, columns, 3] of a window that slides over colours."""
    wide = bytes_of(0.1 + 0.8 * colours(seed, height, width + 4 * views))
    return [wide[:, 4 * i : 4 * i + width] for i in range(views)]


def encode(
    path: Path,
    frames: Sequence[np.ndarray | av.VideoFrame],
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int, int] | None = None,
    times: Sequence[int] | None = None,
    container: str | None = None,
    first: np.ndarray | None = None,
    aspect: Fraction = Fraction(1),
    rate: int = 10,
) -> Path:
    """Frames (RGB, RGBA, or of PyAV in ``pixels``) as a video; ``first`` is a still in a stream before it.

    ``tags`` are the numbers of matrix, range, transfer and primaries; ``times`` are in frames of ``rate``.
    """
    with av.open(str(path), "w", format=container) as file:
        if first is not None:
            still = file.add_stream("mjpeg", rate=1)
            still.height, still.width, still.pix_fmt = *first.shape[:2], "yuvj420p"
        stream = file.add_stream(codec, rate=rate, options=options or {})
        shape = frames[0].shape[:2] if isinstance(frames[0], np.ndarray) else (frames[0].height, frames[0].width)
        (stream.height, stream.width), stream.pix_fmt = shape, pixels
        context = stream.codec_context
        context.sample_aspect_ratio = aspect
        if tags is not None:
            context.colorspace, context.color_range, context.color_trc, context.color_primaries = tags
        if first is not None:
            file.mux(still.encode(av.VideoFrame.from_ndarray(first, format="rgb24")))
            file.mux(still.encode(None))
        for number, item in enumerate(frames):
            frame = item if isinstance(item, av.VideoFrame) else _of(item, pixels, tags)
            if tags is not None:
                frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = tags
            frame.pts = number if times is None else times[number]
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def _of(pixels: np.ndarray, kind: str, tags: tuple[int, int, int, int] | None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgba" if pixels.shape[2] == 4 else "rgb24")
    return frame if tags is None else frame.reformat(format=kind, dst_colorspace=tags[0], dst_color_range=tags[1])


def coded(signal: np.ndarray, matrix: int, full: bool, bits: int) -> av.VideoFrame:
    """R'G'B' [rows, columns, 3] in [0, 1] as a 4:4:4 frame, by the formulas of H.273 in float64."""
    red, blue = WEIGHTS[matrix]
    luma = signal @ np.array([red, 1 - red - blue, blue])
    chroma = [(signal[..., 2] - luma) / 2 / (1 - blue), (signal[..., 0] - luma) / 2 / (1 - red)]
    unit, top = 2.0 ** (bits - 8), 2**bits - 1
    middle = 128 * unit
    planes = [luma * top if full else (16 + 219 * luma) * unit]
    planes += [middle + part * (top if full else 224 * unit) for part in chroma]
    frame = av.VideoFrame(signal.shape[1], signal.shape[0], "yuv444p" if bits == 8 else f"yuv444p{bits}le")
    for plane, values in zip(frame.planes, planes, strict=True):
        kind = np.dtype("u1" if bits == 8 else "<u2")
        rows = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        rows[:, : plane.width] = np.clip(np.round(values), 0, top)
        plane.update(rows.tobytes())
    return frame


def show_by(path: Path, matrix: Sequence[float]) -> Path:
    """Write a display matrix (a, b, c, d) into an MP4 file's track."""

    def fixed(a: float, b: float, c: float, d: float) -> bytes:
        values = [round(65536 * value) for value in (a, b, 0, c, d, 0, 0, 0)]
        return struct.pack(">9i", *values, 1 << 30)

    content = path.read_bytes()
    track = content.rindex(fixed(*UPRIGHT))
    path.write_bytes(content[:track] + fixed(*matrix) + content[track + 36 :])
    return path


def srgb_to_light(signal: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1 in float64."""
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def light_to_srgb(light: np.ndarray) -> np.ndarray:
    """Its inverse."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def hlg(light: np.ndarray) -> np.ndarray:
    """BT.2100: OETF of HLG, from light of the scene in [0, 1]."""
    a, b, c = 0.17883277, 1 - 4 * 0.17883277, 0.5 - 0.17883277 * np.log(4 * 0.17883277)
    return np.where(light <= 1 / 12, np.sqrt(3 * light), a * np.log(np.maximum(12 * light - b, 1e-9)) + c)


def pq(nits: np.ndarray) -> np.ndarray:
    """BT.2100: inverse EOTF of PQ."""
    power = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def to_wide(light: np.ndarray, primaries: Sequence[float]) -> np.ndarray:
    """Linear light of BT.709 to other primaries with white D65 (x, y of red, green and blue), from chromaticities."""

    def matrix(points: Sequence[float]) -> np.ndarray:
        columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in zip(points[::2], points[1::2], strict=True)]).T
        white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
        return columns * np.linalg.solve(columns, white)

    return light @ (np.linalg.inv(matrix(primaries)) @ matrix((0.64, 0.33, 0.30, 0.60, 0.15, 0.06))).T


BT2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
