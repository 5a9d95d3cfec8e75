"""Wan autoencoder on a whole clip at once.

diffusers runs the Wan autoencoder in chunks of four frames with a feature cache, which saves memory on long videos. Training
wants one pass over the clip: fewer, larger kernels and a graph that compiles. The rules that make both paths equal: the
first frame skips every temporal resampling; temporal downsampling is a stride-2 convolution over the whole sequence with the
first frame prepended; temporal upsampling is a causal convolution over frames 1.. that sees zeros before them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanResample, patchify, unpatchify
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Stage = Callable[[Any, Tensor], Tensor]
"""A part of the decoder's way: its layers and what goes in."""


def encode_moments(
    vae: AutoencoderKLWan, video: Float[Tensor, "batch 3 frames height width"]
) -> Float[Tensor, "batch moments times rows columns"]:
    """Posterior mean and log-variance (concatenated on channels) of a video in [-1, 1]."""
    if vae.config.is_residual:
        raise ValueError("the whole-clip path covers the Wan 2.1 autoencoder only (is_residual must be false)")
    x = patchify(video, vae.config.patch_size) if vae.config.patch_size else video
    encoder = vae.encoder
    x = encoder.conv_in(x)
    for layer in encoder.down_blocks:
        x = _downsample(layer, x) if isinstance(layer, WanResample) else layer(x)
    x = encoder.mid_block(x)
    x = encoder.conv_out(encoder.nonlinearity(encoder.norm_out(x)))
    return vae.quant_conv(x)


def decode_video(
    vae: AutoencoderKLWan,
    latents: Float[Tensor, "batch channels times rows columns"],
    checkpointing: bool = False,
    compiled: bool = False,
) -> Float[Tensor, "batch 3 frames height width"]:
    """Video of raw latents, nominally in [-1, 1] but not clamped (training needs gradients outside the range).

    ``compiled``: ``torch.compile`` fuses what lies between the convolutions of the blocks; code per size, results to rounding.
    ``checkpointing``: a graph keeps what goes into a block only, and the block runs again in the backward pass. Compiled blocks
    keep little of their own, so that of these only the last ones, at full resolution, run again.
    """
    if vae.config.is_residual:
        raise ValueError("the whole-clip path covers the Wan 2.1 autoencoder only (is_residual must be false)")
    decoder = vae.decoder

    def run(stage: Stage, layer: nn.Module, x: Tensor, again: bool) -> Tensor:
        stage = _compiled(stage) if compiled else stage
        if again and torch.is_grad_enabled():
            result: Tensor = checkpoint(partial(stage, layer), x, use_reentrant=False)
            return result
        return stage(layer, x)

    x = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(latents)))
    for block in decoder.up_blocks:
        again = checkpointing and (not compiled or block is decoder.up_blocks[-1])
        for resnet in block.resnets:
            x = run(_residual, resnet, x, again)
        if block.upsamplers is not None:
            x = run(_upsample, block.upsamplers[0], x, again)
    x = run(_to_pixels, decoder, x, checkpointing)
    return unpatchify(x, vae.config.patch_size) if vae.config.patch_size else x


@cache
def _compiled(stage: Stage) -> Stage:
    # One compiled function per kind of stage, shared by all its layers.
    compiled: Stage = torch.compile(stage, dynamic=False)
    return compiled


def _residual(layer: Any, x: Tensor) -> Tensor:
    result: Tensor = layer(x)
    return result


def _to_pixels(decoder: Any, x: Tensor) -> Tensor:
    result: Tensor = decoder.conv_out(decoder.nonlinearity(decoder.norm_out(x)))
    return result


def _per_frame(layer: WanResample, x: Tensor) -> Tensor:
    batch, _, frames, _, _ = x.shape
    y = layer.resample(x.transpose(1, 2).flatten(0, 1))
    return y.unflatten(0, (batch, frames)).transpose(1, 2)


def _downsample(layer: WanResample, x: Tensor) -> Tensor:
    x = _per_frame(layer, x)
    if layer.mode == "downsample3d" and x.shape[2] > 1:
        # The strided convolution reads the first frame, too, but has no output for it alone.
        x = torch.cat([x[:, :, :1], layer.time_conv(x)], dim=2)
    return x


def _upsample(layer: WanResample, x: Tensor) -> Tensor:
    if layer.mode == "upsample3d" and x.shape[2] > 1:
        pairs = layer.time_conv(x[:, :, 1:]).unflatten(1, (2, -1))  # batch, 2, channels, time, ...
        # To [batch, channels, time, 2, ...]: the two of a pair follow each other in time.
        later = pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
        x = torch.cat([x[:, :, :1], later], dim=2)
    return _per_frame(layer, x)
