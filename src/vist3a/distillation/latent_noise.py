"""Noise on the latents that a student sees, while its targets come from clean frames.

Latents of a generator are not exactly on the autoencoder's manifold. A decoder that was trained on clean latents alone loses its
depth and its cameras under noise of an eighth of their size; one that has seen noise bears it, at next to no cost on clean ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.runtime.bounds import Fraction, NotNegative


@dataclass(frozen=True, kw_only=True)
class LatentNoise:
    """How often latents are noisy, and how much.

    Attributes:
        most: Largest noise, as a share of a clip's root mean square; each clip draws its own level uniformly below.
        share: Share of the clips that get noise at all.
    """

    most: NotNegative
    share: Fraction = 0.8


def with_noise(
    latents: Float[Tensor, "batch channels times rows columns"], noise: LatentNoise | None, generator: torch.Generator
) -> Float[Tensor, "batch channels times rows columns"]:
    """Latents z as z + s rms(z) eps, with a level s and standard normal eps of each clip's own; unchanged for None.

    ``generator`` is on the CPU, so that a step draws the same noise on every device.

    Example:
        >>> noisy = with_noise(latents, LatentNoise(most=0.3), step_generator(seed, step))
    """
    if noise is None:
        return latents
    batch = len(latents)
    # Levels are drawn for all clips, chosen or not, so that the draws after them stay.
    chosen = torch.rand(batch, generator=generator) < noise.share
    level = noise.most * torch.rand(batch, generator=generator) * chosen
    eps = torch.randn(latents.shape, generator=generator).to(latents)
    size = latents.square().mean((1, 2, 3, 4)).sqrt() * level.to(latents)
    return latents + size[:, None, None, None, None] * eps
