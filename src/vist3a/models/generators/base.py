"""The contract of a latent video generator: an autoencoder, a text encoder and a denoiser with its own sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.models.word_tokenizer import UnknownWords


class VideoGenerator(nn.Module, ABC):
    """A video generator behind one contract.

    Frames are RGB in [0, 1]; latents are *raw* (as the autoencoder emits them) unless a name says ``normalised``:
    the denoiser works on normalised latents, the stitch layer on raw ones.
    """

    channels: int
    spatial_stride: int
    temporal_stride: int

    def latent_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(channels, T', h, w) of the latents; ValueError naming the allowed frame counts and sizes."""
        if (frames - 1) % self.temporal_stride:
            lower = (frames - 1) // self.temporal_stride * self.temporal_stride + 1
            raise ValueError(
                f"{frames} frames: this generator takes {self.temporal_stride}n+1 frames "
                f"(nearest: {lower} or {lower + self.temporal_stride})"
            )
        if height % self.spatial_multiple or width % self.spatial_multiple:
            raise ValueError(f"frames of {height}x{width} px: both sides must be multiples of {self.spatial_multiple}")
        return (
            self.channels,
            (frames - 1) // self.temporal_stride + 1,
            height // self.spatial_stride,
            width // self.spatial_stride,
        )

    @property
    @abstractmethod
    def spatial_multiple(self) -> int:
        """Frame sides must be multiples of this many pixels (autoencoder stride times the denoiser's patch)."""

    @abstractmethod
    def encode(
        self, frames: Float[Tensor, "batch views 3 height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Raw latents: the mode of the posterior, or a sample when ``generator`` is given."""

    @abstractmethod
    def decode(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch views 3 height width"]:
        """Frames of raw latents, in [0, 1]; differentiable."""

    @abstractmethod
    def normalise(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Raw latents to the denoiser's zero-mean, unit-variance space."""

    @abstractmethod
    def denormalise(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Inverse of :meth:`normalise`."""

    @abstractmethod
    def embed(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens text_width"]:
        """Text embeddings; the empty prompt is the unconditional one."""

    def unknown_words(self, prompts: Sequence[str]) -> list[UnknownWords]:
        """Prompts with words that the text encoder cannot tell apart; an open vocabulary has none."""
        return []

    def cut_prompts(self, prompts: Sequence[str]) -> list[tuple[str, int, int]]:
        """Prompts of which only the beginning is read: the prompt, its tokens, and how many are read."""
        return []

    @abstractmethod
    def velocity(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timesteps: Float[Tensor, " batch"],
        text: Float[Tensor, "batch tokens text_width"],
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Flow-matching velocity (noise minus clean) at normalised noisy latents; timestep = 1000 sigma."""

    @abstractmethod
    def new_scheduler(self) -> Any:
        """A fresh diffusers scheduler (stateful during one rollout), configured as this generator wants it."""
