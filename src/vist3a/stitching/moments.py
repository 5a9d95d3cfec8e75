"""Streaming second moments of (latent patches, activations): all that the closed-form fit and its scores need.

Moments of disjoint data add up, so shards, devices and machines are summed, and memory does not grow with the data. Sums are kept
per token position (rows x columns of the token grid), because activations of vision transformers carry a large constant per
position: with them both the plain convolution and the one with a bias per position have exact solutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records import TokenState


@dataclass(frozen=True)
class PointMoments:
    """Sums over activations y of one stitch point. ``special_sum`` has rows for the first and for all other views."""

    sum_y: Float[Tensor, "positions width"]
    cross: Float[Tensor, "features width"]
    square: Float[Tensor, " width"]
    special_sum: Float[Tensor, "2 special width"]


@dataclass(frozen=True)
class Moments:
    """Sums over latent patches x and, per point, activations y; float64."""

    count: Float[Tensor, " positions"]
    sum_x: Float[Tensor, "positions features"]
    gram: Float[Tensor, "features features"]
    special_count: Float[Tensor, " 2"]
    points: Mapping[str, PointMoments]

    def __add__(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint data sets; ValueError when they describe different layers."""
        if self.points.keys() != other.points.keys() or self.sum_x.shape != other.sum_x.shape:
            raise ValueError("moments of different stitch points or patch shapes cannot be added")
        points = {
            name: PointMoments(
                a.sum_y + (b := other.points[name]).sum_y,
                a.cross + b.cross,
                a.square + b.square,
                a.special_sum + b.special_sum,
            )
            for name, a in self.points.items()
        }
        return Moments(
            self.count + other.count,
            self.sum_x + other.sum_x,
            self.gram + other.gram,
            self.special_count + other.special_count,
            points,
        )

    def state(self) -> dict[str, Tensor]:
        """Flat tensors for storage."""
        tensors = {
            "count": self.count,
            "sum_x": self.sum_x,
            "gram": self.gram,
            "special_count": self.special_count,
        }
        for name, p in self.points.items():
            tensors |= {
                f"{name}/sum_y": p.sum_y,
                f"{name}/cross": p.cross,
                f"{name}/square": p.square,
                f"{name}/special_sum": p.special_sum,
            }
        return tensors

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor]) -> Moments:
        """Inverse of :meth:`state`."""
        names = dict.fromkeys(key.rsplit("/", 1)[0] for key in tensors if "/" in key)
        points = {
            name: PointMoments(
                tensors[f"{name}/sum_y"],
                tensors[f"{name}/cross"],
                tensors[f"{name}/square"],
                tensors[f"{name}/special_sum"],
            )
            for name in names
        }
        return cls(tensors["count"], tensors["sum_x"], tensors["gram"], tensors["special_count"], points)


@torch.no_grad()
def moments_of(
    patches: Float[Tensor, "batch views rows columns features"], states: Mapping[str, TokenState]
) -> Moments:
    """Moments of one batch, on the device of the patches."""
    batch, views, rows, columns, _ = patches.shape
    x = patches.flatten(2, 3).transpose(0, 2).flatten(1, 2).double()  # positions, samples, features
    flat_x = x.flatten(0, 1)
    others = views - 1
    points = {}
    for name, state in states.items():
        y = state.patch_tokens.flatten(2, 3).transpose(0, 2).flatten(1, 2).double()
        if y.shape[:2] != x.shape[:2]:
            raise ValueError(
                f"stitch point {name}: {tuple(state.patch_tokens.shape[1:4])} tokens (views, rows, columns), "
                f"but the stitch layer gives {(views, rows, columns)}"
            )
        special = state.special_tokens.double()
        points[name] = PointMoments(
            sum_y=y.sum(1),
            cross=flat_x.T @ y.flatten(0, 1),
            square=y.square().sum((0, 1)),
            special_sum=torch.stack([special[:, 0].sum(0), special[:, 1:].sum((0, 1))]),
        )
    return Moments(
        count=torch.full((rows * columns,), float(batch * views), dtype=torch.float64, device=x.device),
        sum_x=x.sum(1),
        gram=flat_x.T @ flat_x,
        special_count=torch.tensor([float(batch), float(batch * others)], dtype=torch.float64, device=x.device),
        points=points,
    )
