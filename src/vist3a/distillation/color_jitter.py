"""Random brightness, contrast, saturation and hue of a clip, as torchvision defines them and the public code draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor

from vist3a.runtime.bounds import Fraction

Frames = Float[Tensor, "views 3 height width"]
Ranges = tuple[Fraction, Fraction, Fraction, Annotated[float, Ge(0), Le(0.5)]]
"""Largest relative change of brightness, contrast and saturation, and of the hue as a part of the color circle (at most 0.5)."""
GRAY = (0.299, 0.587, 0.114)


def color_jitter(frames: Frames, ranges: Ranges, random: torch.Generator) -> Frames:
    """One draw for all views of a clip in [0, 1], in random order, so that the views stay one scene.

    Example:
        >>> color_jitter(torch.rand(13, 3, 64, 64), (0.5, 0.5, 0.5, 0.1), torch.Generator().manual_seed(0)).shape
        torch.Size([13, 3, 64, 64])
    """
    order = torch.randperm(4, generator=random).tolist()
    draws = (2 * torch.rand(4, generator=random, dtype=torch.float64) - 1).tolist()
    changes: tuple[Callable[[Tensor, float], Tensor], ...] = (brightness, contrast, saturation, hue)
    for which in order:
        amount = ranges[which] * draws[which]
        frames = changes[which](frames, amount if which == 3 else 1 + amount)
    return frames


def brightness(frames: Frames, factor: float) -> Frames:
    """All values times ``factor``."""
    return (frames * factor).clamp(0, 1)


def contrast(frames: Frames, factor: float) -> Frames:
    """Differences to each view's mean gray times ``factor``."""
    return _blend(frames, _gray(frames).mean((-3, -2, -1), keepdim=True), factor)


def saturation(frames: Frames, factor: float) -> Frames:
    """Differences to each pixel's gray times ``factor``."""
    return _blend(frames, _gray(frames), factor)


def hue(frames: Frames, shift: float) -> Frames:
    """Turns the hue by ``shift`` of the circle; value and saturation of HSV stay."""
    value, brightest = frames.max(dim=-3)
    span = value - frames.min(dim=-3).values
    # A circle has six sixths: the channel that leads, and how far the two others are apart.
    behind, ahead = frames.roll(-1, dims=-3), frames.roll(-2, dims=-3)
    sixths = (behind - ahead) / torch.where(span > 0, span, torch.ones_like(span)).unsqueeze(-3)
    angle = (sixths.gather(-3, brightest.unsqueeze(-3)).squeeze(-3) + 2 * brightest + 6 * shift).remainder(6)
    # The share of the span that a channel lies below the value, by its distance on the circle.
    centers = torch.tensor([0.0, 2.0, 4.0], device=frames.device, dtype=frames.dtype).view(3, 1, 1)
    apart = (angle.unsqueeze(-3) - centers + 3).remainder(6) - 3
    return value.unsqueeze(-3) - span.unsqueeze(-3) * (apart.abs() - 1).clamp(0, 1)


def _gray(frames: Frames) -> Float[Tensor, "views 1 height width"]:
    weights = torch.tensor(GRAY, device=frames.device, dtype=frames.dtype).view(3, 1, 1)
    return (frames * weights).sum(-3, keepdim=True)


def _blend(frames: Frames, towards: Tensor, factor: float) -> Frames:
    return (factor * frames + (1 - factor) * towards).clamp(0, 1)
