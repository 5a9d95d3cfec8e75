"""Frames to MP4, images to PNG, many images to one sheet."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vist3a.runtime.atomic import replacing

CODECS = ("libx264", "libopenh264", "mpeg4")
"""Encoders in the order of preference: H.264 where this build of FFmpeg has it."""
BITS_PER_PIXEL = 32
"""And second, for encoders without a constant quality."""


def save_video(path: Path, frames: Float[Tensor, "frames 3 height width"], fps: float = 16.0, crf: int = 14) -> None:
    """Write RGB frames in [0, 1] as MP4 (yuv420p, which every player reads).

    ``crf`` is the constant quality of x264, lower is better and 14 visually lossless. Odd sizes are made even by
    repeating the last row or column, as chroma is stored at half the resolution.
    """
    import av
    from av.video.stream import VideoStream

    if len(frames) == 0:
        raise ValueError(f"{path} was not written: a video needs at least one frame")
    pixels = to_bytes(frames)
    pixels = np.pad(pixels, [(0, 0), (0, pixels.shape[1] % 2), (0, pixels.shape[2] % 2), (0, 0)], mode="edge")
    codec = next(name for name in CODECS if name in av.codecs_available)
    with replacing(path) as temporary, av.open(str(temporary), mode="w", format="mp4") as container:
        options = {"crf": str(crf), "preset": "medium"} if codec == "libx264" else {}
        # 1001 is the denominator of broadcast rates, as 30000 / 1001.
        rate = Fraction(fps).limit_denominator(1001)
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if codec != "libx264":
            # Other encoders have no constant quality: a generous rate takes its place.
            stream.bit_rate = BITS_PER_PIXEL * stream.height * stream.width
        for frame in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        # The frames that the encoder still holds.
        container.mux(stream.encode(None))


def save_image(path: Path, image: Float[Tensor, "3 height width"]) -> None:
    """Write an RGB image in [0, 1] as 8-bit PNG."""
    with replacing(path) as temporary:
        Image.fromarray(to_bytes(image[None])[0]).save(temporary, format="PNG")


def image_sheet(
    images: Float[Tensor, "count 3 height width"], columns: int, gap: int = 2
) -> Float[Tensor, "3 sheet_height sheet_width"]:
    """Images row by row on a white sheet, ``gap`` pixels apart."""
    if columns < 1 or len(images) == 0:
        raise ValueError(f"an image sheet needs images and columns, not {len(images)} and {columns}")
    count, _, height, width = images.shape
    rows = -(-count // columns)
    sheet = images.new_ones(3, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def to_bytes(frames: Float[Tensor, "frames 3 height width"]) -> np.ndarray:
    """Frames ``[frames, height, width, 3]`` of bytes; values outside [0, 1] are clipped, NaN becomes black."""
    clean = (frames.float().cpu().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    return clean.permute(0, 2, 3, 1).contiguous().numpy()
