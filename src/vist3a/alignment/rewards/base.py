"""The contract of a reward: a differentiable score per sample, higher is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vist3a.records import Gaussians, Reconstruction

Kind = Literal["decoded", "rendered"]
Need = Literal["decoded", "rendered", "scene", "gaussians"]
"""What a term may read: decoded frames, renderings, the 3D without Gaussians (cameras, depth, points), the 3D with them."""


def alone(figure: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Every sample by itself."""
    return figure


@dataclass(frozen=True)
class Views:
    """What a sample looks like: frames decoded by the video autoencoder, the same views rendered from the decoded 3D, and the 3D.

    Frames are RGB in [0, 1]; ``prompts`` has one text per sample. What no term of the reward needs may be missing. ``together``
    makes of a figure of every sample, without a gradient, that of all it is scored with: in alignment the mean over the step, in
    all processes; elsewhere samples stand alone.
    """

    decoded: Float[Tensor, "batch views 3 height width"] | None
    rendered: Float[Tensor, "batch views 3 height width"] | None
    prompts: tuple[str, ...]
    scene: Reconstruction | None = None
    together: Callable[[Float[Tensor, " batch"]], Float[Tensor, " batch"]] = alone

    def images(self, kind: Kind) -> Float[Tensor, "batch views 3 height width"]:
        """Decoded or rendered views; ValueError where there are none."""
        images = self.decoded if kind == "decoded" else self.rendered
        if images is None:
            raise ValueError(
                f"a term of the reward reads {kind} views, and there are none; allowed: terms whose needs are met"
            )
        return images

    def geometry(self) -> Reconstruction:
        """The 3D; ValueError where there is none."""
        if self.scene is None:
            raise ValueError("a term of the reward reads the 3D, and there is none; allowed: terms whose needs are met")
        return self.scene

    def gaussians(self) -> Gaussians:
        """The Gaussians of the 3D; ValueError where there are none."""
        if self.scene is None or self.scene.gaussians is None:
            raise ValueError(
                "a term of the reward reads Gaussians, and there are none; allowed: terms whose needs are met"
            )
        return self.scene.gaussians


@runtime_checkable
class Reward(Protocol):
    """One term of the reward."""

    needs: frozenset[Need]
    """What it reads of the views."""

    def __call__(self, views: Views) -> Float[Tensor, " batch"]:
        """Score per sample."""
        ...
