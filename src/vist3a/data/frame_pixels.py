"""A decoded frame of a video as upright 8-bit sRGB over black."""

from __future__ import annotations

import struct
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from vist3a.data.high_range import needs_mapping, to_standard_range
from vist3a.data.rejected import RejectedError

MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
"""Colour matrices (numbers of ITU-T H.273) that FFmpeg's scaler knows: of BT.709, BT.601, BT.2020 and older; 2 is unstated."""
FULL_RANGE = 2
LIMITED_WHITE = 65280
"""White of the 16-bit RGB that FFmpeg's scaler makes of limited range."""
TOLERANCE = 0.01
"""Share of a turn's matrix that may lie off a quarter turn: files hold rounded numbers."""


def frame_pixels(frame: Any) -> UInt8[Tensor, "3 rows columns"]:
    """The frame in the colours that the file states, turned and mirrored as its display matrix says.

    Matrix and range are those stated (BT.601, limited, where nothing is: FFmpeg's choice); high dynamic range and wide gamuts
    are brought to sRGB; transparency becomes black (alpha is taken as not multiplied in).

    Raises:
        RejectedError: A colour matrix or a turn that cannot be followed.
    """
    if frame.colorspace not in MATRICES and not frame.format.is_rgb:
        known = "those of BT.601, BT.709 and BT.2020 are read"
        raise RejectedError(
            f"the video's colour matrix (number {frame.colorspace} of ITU-T H.273) is not read; {known}"
        )
    # Palettes may have transparent entries; their format does not say so.
    clear = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
    if needs_mapping(frame.color_trc, frame.color_primaries):
        # With 16 bits: eight bits of such a signal would show bands once they are mapped.
        pixels = torch.from_numpy(frame.to_ndarray(format="rgba64le" if clear else "rgb48le").astype("int32"))
        limited = not (frame.format.is_rgb or frame.color_range == FULL_RANGE)
        largest = LIMITED_WHITE if limited else 65535
        colours = to_standard_range(pixels[..., :3], largest, frame.color_trc, frame.color_primaries)
        alpha = (pixels[..., 3:] + 128) // 257
    else:
        pixels = torch.from_numpy(frame.to_ndarray(format="rgba" if clear else "rgb24"))
        colours, alpha = pixels[..., :3], pixels[..., 3:].int()
    if clear:
        colours = ((colours.int() * alpha + 127) // 255).to(torch.uint8)
    turned, mirrored, flipped = orientation(frame)
    if turned:
        colours = colours.transpose(0, 1)
    axes = [axis for axis, is_reversed in enumerate((flipped, mirrored)) if is_reversed]
    return colours.flip(axes).permute(2, 0, 1) if axes else colours.permute(2, 0, 1)


def orientation(frame: Any) -> tuple[bool, bool, bool]:
    """How to show the frame: exchange rows and columns, then reverse the columns, then the rows.

    Raises:
        RejectedError: A turn that is not by quarters.
    """
    matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return False, False, False
    # A point (x, y) is shown at (a x + c y, b x + d y); y points down.
    a, b, _, c, d = struct.unpack("=9i", matrix[:36])[:5]
    straight, crossed = min(abs(a), abs(d)), min(abs(b), abs(c))
    if not any((a, b, c, d)):  # some writers leave it empty
        return False, False, False
    # Only the diagonal: mirrors. Only the other two: rows and columns change places, too.
    if max(abs(b), abs(c)) <= TOLERANCE * straight:
        return False, a < 0, d < 0
    if max(abs(a), abs(d)) <= TOLERANCE * crossed:
        return True, c < 0, b < 0
    stated = ", ".join(f"{part / 65536:g}" for part in (a, b, c, d))
    raise RejectedError(f"the video is to be shown by the matrix ({stated}); quarter turns and mirrors are read")
