"""Closed-form stitch layer from moments: ridge regression with an exact joint intercept.

VIST3A eq. 2 with two corrections: the intercept is fitted jointly (centred moments), per channel or per position, and
the ridge is relative to the mean diagonal of the centred gram matrix, so that it means the same for any amount of data.
One eigendecomposition serves all ridges and all stitch points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.stitching.moments import Moments

Bias = Literal["channel", "position"]


@dataclass(frozen=True)
class LinearMap:
    """y = x W + b, with b per position (all rows equal for ``channel`` bias)."""

    weight: Float[Tensor, "features width"]
    bias: Float[Tensor, "positions width"]


class RidgePath:
    """Solutions for any ridge and point that share one centred, diagonalised gram matrix."""

    def __init__(self, moments: Moments, bias: Bias) -> None:
        self.moments, self.bias = moments, bias
        if bias == "position":
            # Means to center with: of every position, or one for all.
            self.mean_x = moments.sum_x / moments.count[:, None]
        else:
            self.mean_x = (moments.sum_x.sum(0) / moments.count.sum()).expand_as(moments.sum_x)
        centred = moments.gram - (moments.count[:, None] * self.mean_x).T @ self.mean_x
        # Symmetric but for rounding; eigh would read one triangle alone.
        self.values, self.vectors = torch.linalg.eigh((centred + centred.T) / 2)
        self.scale = float(self.values.mean())  # the mean diagonal equals the mean eigenvalue
        self._projected: dict[str, tuple[Tensor, Tensor]] = {}

    def solve(self, point: str, ridge: float) -> LinearMap:
        """Minimiser of sum |x W + b - y|^2 + ridge * mean diagonal * |W|^2 (the bias is not penalised)."""
        if point not in self._projected:
            p = self.moments.points[point]
            if self.bias == "position":
                mean_y = p.sum_y / self.moments.count[:, None]
            else:
                mean_y = mean_activation(self.moments, point).expand_as(p.sum_y)
            centred = p.cross - (self.moments.count[:, None] * self.mean_x).T @ mean_y
            self._projected[point] = (self.vectors.T @ centred, mean_y)
        projected, mean_y = self._projected[point]
        # Directions without variance carry no information: with a ridge of zero they get weight zero (minimum norm).
        floor = self.values.max() * self.values.numel() * torch.finfo(self.values.dtype).eps
        damped = self.values.clamp(min=0) + ridge * self.scale
        inverse = torch.where(damped > floor, 1 / damped, 0.0)
        weight = self.vectors @ (inverse[:, None] * projected)
        return LinearMap(weight, mean_y - self.mean_x @ weight)


def squared_error(moments: Moments, point: str, fit: LinearMap) -> Float[Tensor, ""]:
    """Sum of squared residuals of ``fit`` on the data behind ``moments``, without seeing the data."""
    p = moments.points[point]
    predicted_sum = moments.sum_x @ fit.weight
    # |x W + b - y|^2 multiplied out, so that sums over the data are all it takes.
    error = p.square.sum() - 2 * (fit.weight * p.cross).sum() + (fit.weight * (moments.gram @ fit.weight)).sum()
    error = error + (fit.bias * (2 * (predicted_sum - p.sum_y) + moments.count[:, None] * fit.bias)).sum()
    # Of an exact fit rounding may leave less than zero.
    return error.clamp(min=0)


def deviation(moments: Moments, point: str, mean: Float[Tensor, " width"]) -> Float[Tensor, ""]:
    """Sum of squared differences of y to one constant per channel, over the data behind ``moments``."""
    p = moments.points[point]
    return p.square.sum() - 2 * (mean * p.sum_y.sum(0)).sum() + moments.count.sum() * mean.square().sum()


def mean_activation(moments: Moments, point: str) -> Float[Tensor, " width"]:
    """Mean of y per channel."""
    return moments.points[point].sum_y.sum(0) / moments.count.sum()


def r_squared(moments: Moments, point: str, fit: LinearMap, mean: Float[Tensor, " width"]) -> float:
    """Share of the squared differences to ``mean`` that ``fit`` explains (1 is perfect, 0 is no better than that constant).

    The constant comes from the fit scenes, as ``fit`` does: then R^2 compares two predictions that were made in the same way,
    and it is a ratio of two sums over scenes, views and positions, whichever of them one looks at.
    """
    return 1 - float(squared_error(moments, point, fit) / deviation(moments, point, mean))


def mean_squared_error(moments: Moments, point: str, fit: LinearMap) -> float:
    """Squared error per activation element."""
    elements = float(moments.count.sum()) * moments.points[point].square.numel()
    return float(squared_error(moments, point, fit)) / elements
