"""Images of any size to the size of the networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor


def crop_box(size: tuple[int, int], target: tuple[int, int], pixel_aspect: float = 1.0) -> tuple[int, int, int, int]:
    """Largest centred box (top, left, height, width) of an image of ``size`` that shows the aspect of ``target``.

    Args:
        size: Height and width of the image.
        target: Height and width that the box will be resized to.
        pixel_aspect: Width of a pixel of the image over its height (videos may have oblong pixels).
    """
    height, width = size
    # Width over height of the box, counted in pixels of the image.
    aspect = target[1] / target[0] / pixel_aspect
    box_height = min(height, max(1, round(width / aspect)))
    box_width = min(width, max(1, round(height * aspect)))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def fit(
    image: UInt8[Tensor, "3 rows columns"], height: int, width: int, pixel_aspect: float = 1.0
) -> UInt8[Tensor, "3 height width"]:
    """Centre crop to the aspect of the target, then antialiased bicubic resize."""
    top, left, rows, columns = crop_box((image.shape[1], image.shape[2]), (height, width), pixel_aspect)
    box = image[:, top : top + rows, left : left + columns]
    if (rows, columns) == (height, width):
        return box.contiguous()
    resized = F.interpolate(box[None].float(), (height, width), mode="bicubic", antialias=True)[0]
    # Bicubic weights overshoot at edges.
    return resized.round().clamp(0, 255).to(torch.uint8)
