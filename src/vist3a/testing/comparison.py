"""What all conformance kits say when something is not kept: an AssertionError of one sentence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def must(holds: bool, sentence: str) -> None:
    """AssertionError with the sentence unless it holds."""
    if not holds:
        raise AssertionError(sentence)


def close(ours: Tensor, wanted: Tensor, relative: float, sentence: str) -> None:
    """Equal shapes, and values up to ``relative`` of the largest one; the difference completes the sentence."""
    must(ours.shape == wanted.shape, f"{sentence}: shapes {tuple(ours.shape)} and {tuple(wanted.shape)}")
    off, scale = float((ours - wanted).abs().max()), float(wanted.abs().max())
    # Not "off > ...", which NaN passes.
    must(off <= relative * max(scale, 1e-3), f"{sentence} by {off:.3g} where values reach {scale:.3g}")


def differ(one: Tensor, other: Tensor, sentence: str) -> None:
    """Not the same up to rounding."""
    must(not torch.allclose(one, other, rtol=1e-6, atol=1e-8), sentence)


def refusal(attempt: Callable[[], object]) -> ValueError | None:
    """What an attempt is refused with; contracts refuse with a ValueError."""
    try:
        attempt()
    except ValueError as error:
        return error
    return None
