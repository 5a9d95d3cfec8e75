"""The contract of a reward: a differentiable score per sample, higher is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """What a sample looks like: frames decoded by the video autoencoder and the same views rendered from the decoded 3D.

    Both are RGB in [0, 1]; ``prompts`` has one text per sample.
    """

    decoded: Float[Tensor, "batch views 3 height width"]
    rendered: Float[Tensor, "batch views 3 height width"]
    prompts: tuple[str, ...]


@runtime_checkable
class Reward(Protocol):
    """One term of the reward."""

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score per sample."""
        ...
