"""Renderings of a student against the frames that its latents stand for: the one term that can lead past the teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records import Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.runtime.bounds import NotNegative, Positive


@dataclass(frozen=True, kw_only=True)
class Photometric:
    """How renderings are compared with frames.

    Attributes:
        weight: Of the term in the sum of all.
        views: Random views of each clip that are rendered, at the cameras that the student itself predicts.
        clips: The first clips of a batch, at most so many, are rendered; None: all.
        squared: Weight of the mean squared difference within the term.
        absolute: Weight of the mean absolute difference within the term.
    """

    weight: NotNegative = 1.0
    views: Positive = 3
    clips: Positive | None = None
    squared: NotNegative = 6.0
    absolute: NotNegative = 0.5


def photometric_loss(
    scene: Reconstruction,
    frames: Float[Tensor, "batch views 3 height width"],
    config: Photometric,
    render: Renderer,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Difference of renderings of some views of ``scene`` to ``frames`` in [0, 1]; gradients reach Gaussians and cameras.

    ``generator`` (CPU) draws the views; ValueError for a scene without Gaussians.
    """
    if scene.gaussians is None:
        raise ValueError("a scene without Gaussians cannot be rendered")
    count = frames.shape[1]
    chosen = torch.randperm(count, generator=generator)[: config.views].to(frames.device)
    height, width = scene.depth.shape[-2:]
    # Clips are drawn at random: the first are as good as any.
    target = frames[: config.clips, chosen]
    if (height, width) != target.shape[-2:]:
        raise ValueError(f"frames of {tuple(target.shape[-2:])} pixels, but the scene is of {(height, width)}")
    cameras = scene.cameras[: config.clips][:, chosen]
    error = render(scene.gaussians[: config.clips], cameras, (height, width)).rgb - target
    return config.squared * error.square().mean() + config.absolute * error.abs().mean()
