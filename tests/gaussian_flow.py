"""A generator whose data are independent Gaussians: its velocity and its flow map are known in closed form.

x_s = (1 - s) x_0 + s noise, with x_0 ~ N(MEAN, SPREAD^2), is N(m_s, d_s^2): m_s = (1 - s) MEAN, d_s^2 = (1 - s)^2 SPREAD^2 + s^2.
The flow keeps (x_s - m_s) / d_s, so x_r = m_r + d_r / d_t (x_t - m_t).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition

MEAN, SPREAD = 1.5, 0.3
SHAPE = (2, 1, 3, 3)


def spread(level: Tensor) -> Tensor:
    return ((1 - level) ** 2 * SPREAD**2 + level**2).sqrt()


def moved(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """The flow from level ``start`` to ``end``, which have the axes of ``x``."""
    return (1 - end) * MEAN + spread(end) / spread(start) * (x - (1 - start) * MEAN)


def velocity(x: Tensor, level: Tensor) -> Tensor:
    """dx/ds along the flow."""
    return -MEAN + (level - (1 - level) * SPREAD**2) / spread(level) ** 2 * (x - (1 - level) * MEAN)


class GaussianGenerator(VideoGenerator):
    """``knows_lengths``: it predicts the mean velocity over the step that it is told, else the velocity."""

    TIME_EMBEDDER = ""
    temporal_stride = 1

    def __init__(self, scheduler: Any, knows_lengths: bool = False) -> None:
        super().__init__(transformer=nn.Identity(), scheduler=scheduler)
        self.knows_lengths, self.told = knows_lengths, torch.zeros(())

    @contextmanager
    def stepping(self, length: Tensor) -> Iterator[None]:
        self.told = length
        yield

    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        level = (timesteps.to(noisy) / 1000).view(-1, 1, 1, 1, 1)
        if not self.knows_lengths:
            return velocity(noisy, level)
        length = (self.told.to(noisy) / 1000).reshape(-1, 1, 1, 1, 1)
        return (noisy - moved(noisy, level, level - length)) / length

    def sequence_length(self, shape: Any) -> int:
        return 9


def text(count: int) -> Condition:
    return Condition({"text": torch.zeros(count, 1)})


def noise(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0)).double()
