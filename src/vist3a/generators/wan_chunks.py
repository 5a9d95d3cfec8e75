"""The Wan video decoder four frames at a time, with a graph that holds no more than four.

diffusers decodes one latent frame after the other, and hands the last inputs of every causal convolution on in a cache. Here the
caches are what goes in and what comes out of a chunk, so that the backward pass can run a chunk again, from its inputs alone,
and forget it before it goes on to the one before. The gradient is that of the whole clip.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Cache = Tensor | str | None
"""Of one convolution: the last frames that went in; nothing before the first chunk; diffusers' mark where it skipped it."""


def decode_by_chunks(
    vae: AutoencoderKLWan, latents: Float[Tensor, "batch channels times rows columns"]
) -> Float[Tensor, "batch 3 frames height width"]:
    """Video of raw latents, nominally in [-1, 1], not clamped. A graph keeps latents and caches; every chunk is run again.

    Example:
        >>> video = decode_by_chunks(vae, latents.requires_grad_())
        >>> (gradient,) = torch.autograd.grad(video, latents, cotangent)
    """
    x = vae.post_quant_conv(latents)
    caches: tuple[Cache, ...] = (None,) * vae._cached_conv_counts["decoder"]
    parts = []
    for time in range(x.shape[2]):
        chunk = partial(_chunk, vae.decoder, time == 0)
        if torch.is_grad_enabled() and x.requires_grad:
            part, *rest = checkpoint(chunk, x[:, :, time : time + 1], *caches, use_reentrant=False)
        else:
            part, *rest = chunk(x[:, :, time : time + 1], *caches)
        parts.append(part)
        caches = tuple(rest)
    video = torch.cat(parts, dim=2)
    return unpatchify(video, vae.config.patch_size) if vae.config.patch_size else video


def _chunk(decoder: Any, first: bool, x: Tensor, *caches: Cache) -> tuple[Any, ...]:
    """Frames of a latent frame, and the caches for the next; those that came in stay as they are."""
    held = list(caches)
    return decoder(x, feat_cache=held, feat_idx=[0], first_chunk=first), *held
