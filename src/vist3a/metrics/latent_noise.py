"""Noise on latents, to see how a decoder bears what a generator does not get right (VIST3A eq. 7)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

NormOver = Literal["clip", "frame", "token"]
AXES: dict[NormOver, tuple[int, ...]] = {"clip": (1, 2, 3, 4), "frame": (1, 3, 4), "token": (1,)}
"""Axes that the norm runs over: all of a sample; channels and places of a latent frame; channels of one place."""


def add_latent_noise(
    latents: Float[Tensor, "batch channels times rows columns"],
    alpha: float,
    seeds: list[int],
    norm_over: NormOver = "clip",
) -> Float[Tensor, "batch channels times rows columns"]:
    """Z + alpha * ||z|| * eps with standard normal eps.

    The paper does not say what ||z|| runs over; ``norm_over`` does. Over a clip, ||z|| grows with the root of the number of its
    latents n, so that the standard deviation of the noise is alpha * sqrt(n) times the root mean square of z.

    Args:
        latents: Clean latents, of any normalisation (the norm scales with them).
        alpha: Level of the noise; 0 gives the latents back.
        seeds: One per sample, so that its noise depends neither on the batch nor on the level.
        norm_over: ``clip``, ``frame`` or ``token``, see ``AXES``.
    """
    if alpha < 0:
        raise ValueError(f"alpha is {alpha:g}; at least 0 is allowed")
    if len(seeds) != len(latents):
        raise ValueError(f"{len(seeds)} seeds for {len(latents)} latents; one each is needed")
    if norm_over not in AXES:
        raise ValueError(f"norm_over is {norm_over!r}; allowed are {', '.join(AXES)}")
    # Drawn on the CPU in float32, so that a seed means the same noise on every device and in every dtype.
    noise = torch.stack(
        [torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
    size = torch.linalg.vector_norm(latents.float(), dim=AXES[norm_over], keepdim=True)
    return (latents.float() + alpha * size * noise.to(latents.device)).to(latents.dtype)
