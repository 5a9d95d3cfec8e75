"""Frames that are differentiated after everything else, so that the video decoder's graph is never beside that of the 3D."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator


class FramesApart:
    """Decodes without a graph; then takes the gradient at the frames on to the latents, in a second pass.

    Example:
        >>> decode = FramesApart(generator)
        >>> loss = loss_of(latents, decode(generator.denormalise(latents)))
        >>> gradient = decode.gradient(loss, latents)
    """

    def __init__(self, generator: VideoGenerator) -> None:
        self._generator = generator
        self._frames: Tensor | None = None

    def __call__(
        self, raw: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch views 3 height width"]:
        """Frames of raw latents, on which the graph begins anew."""
        with torch.no_grad():
            self._frames = self._generator.decode(raw)
        return self._frames.requires_grad_(True)

    def gradient(
        self, loss: Float[Tensor, ""], latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Gradient of ``loss`` at normalised latents, by all ways: beside the frames and through them. Frees the loss's graph."""
        if self._frames is None:
            (gradient,) = torch.autograd.grad(loss, latents)
            return gradient
        beside, at_frames = torch.autograd.grad(loss, (latents, self._frames), allow_unused=True)
        self._frames = None
        if at_frames is None:
            return beside
        with torch.enable_grad():
            raw = self._generator.denormalise(latents)
            (through,) = torch.autograd.grad(raw, latents, self._generator.decode_gradient(raw, at_frames))
        return through if beside is None else beside + through
