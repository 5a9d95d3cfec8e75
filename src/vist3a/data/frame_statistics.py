"""Numbers that tell whether a frame, or a pair of frames, is fit for reconstruction; all on frames of the networks' size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
BLOCK = 8
THUMB = 64
TEXTURED = 0.03
"""Standard deviation of luma above which a block has something to follow."""
SAME_BLOCK = 0.9
"""Correlation below which a block shows something else: well below what noise and compression do to a still camera."""


@dataclass(frozen=True)
class FrameStatistics:
    """``brightness`` is mean luma and ``contrast`` its standard deviation, of [0, 1]; ``sharpness`` is the variance of the
    Laplacian over the variance of luma, so that dull scenes do not count as blurred.
    """

    brightness: float
    contrast: float
    sharpness: float


def luma(frames: UInt8[Tensor, "*views 3 height width"]) -> Float[Tensor, "*views height width"]:
    """Grey frames in [0, 1]."""
    weights = torch.tensor(LUMA, device=frames.device) / 255
    return (frames.float() * weights[:, None, None]).sum(-3)


def frame_statistics(grey: Float[Tensor, "height width"]) -> FrameStatistics:
    """Statistics of one grey frame."""
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    variance = float(grey.var(correction=0))
    # The floor keeps the noise of nearly uniform frames from counting as detail.
    sharpness = float(laplacian.var(correction=0)) / (variance + 1e-4)
    return FrameStatistics(float(grey.mean()), variance**0.5, sharpness)


def colour_change(first: UInt8[Tensor, "3 height width"], second: UInt8[Tensor, "3 height width"]) -> float:
    """Share of the pixels that changed colour (64 bins), wherever they went: small under any camera motion."""
    # Half of the L1 distance of two histograms is the share that moved between bins.
    return float((_histogram(first) - _histogram(second)).abs().sum() / 2)


def layout_likeness(first: Float[Tensor, "height width"], second: Float[Tensor, "height width"]) -> float:
    """Correlation of two coarse grey frames (16 x 16): near 1 for neighbours, near 0 across a cut."""
    return float(_correlation(*(F.adaptive_avg_pool2d(grey[None], 16).flatten() for grey in (first, second))))


def moved_share(frames: Float[Tensor, "views height width"]) -> float:
    """Largest share of the textured blocks of the first view that show something else in another view.

    A camera that moves changes nearly all of them; in front of a still camera only what moves does.
    """
    thumbs = F.adaptive_avg_pool2d(frames[:, None], THUMB)
    blocks = F.unfold(thumbs, BLOCK, stride=BLOCK).transpose(1, 2)
    # The correlation of a flat block is that of its noise, so only textured ones count.
    textured = blocks[0].std(-1, correction=0) > TEXTURED
    if not bool(textured.any()):
        return 0.0
    # A correlation per block, unlike a difference, does not see changes of exposure.
    likeness = _correlation(blocks[:1, textured], blocks[1:, textured])
    return float((likeness < SAME_BLOCK).float().mean(1).max()) if len(frames) > 1 else 0.0


def _histogram(frame: Tensor) -> Tensor:
    # Two bits of each channel make the number of a bin.
    red, green, blue = (frame // 64).long()
    return torch.bincount((red * 16 + green * 4 + blue).flatten(), minlength=64).float() / red.numel()


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    first, second = first - first.mean(-1, keepdim=True), second - second.mean(-1, keepdim=True)
    return (first * second).sum(-1) / (first.norm(dim=-1) * second.norm(dim=-1) + 1e-6)
