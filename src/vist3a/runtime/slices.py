"""Work on a few of many things at a time, with a graph that holds no more than that."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_slices(work: Callable[..., Tensor], size: int | None) -> Callable[..., Tensor]:
    """``work`` on ``size`` rows of its tensors at a time (None: on all at once), rows of its results behind each other.

    Rows must not depend on each other. In a graph only what goes into a slice is kept, and the backward pass runs it again: less
    memory, more time, the same gradient.

    Example:
        >>> in_slices(lambda x: 2 * x, 2)(torch.arange(3.0))
        tensor([0., 2., 4.])
    """
    if size is None:
        return work

    def sliced(*tensors: Tensor) -> Tensor:
        parts = []
        for rows in zip(*(tensor.split(size) for tensor in tensors), strict=True):
            parts.append(checkpoint(work, *rows, use_reentrant=False) if torch.is_grad_enabled() else work(*rows))
        return torch.cat(parts)

    return sliced
