"""Tiny instances of the real network classes, random weights, float64: for twins and gradients."""

from __future__ import annotations

import torch

from vist3a.generators.wan import WanGenerator
from vist3a.networks.anysplat import AnySplat, AnySplatConfig

WORDS = ("a", "red", "green", "ball", "cube", "on", "the", "floor")


def tiny_generator(seed: int = 0, scheduler: str = "euler", dtype: torch.dtype = torch.float64) -> WanGenerator:
    """Wan at 16x16 px with 2x2 latents: autoencoder of stride 8 (patch 2), two-layer denoiser, one-layer UMT5."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        UniPCMultistepScheduler,
        WanTransformer3DModel,
    )
    from transformers import UMT5Config, UMT5EncoderModel

    from vist3a.generators.word_tokenizer import as_transformers, build_tokenizer

    torch.manual_seed(seed)
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8,
        latents_mean=[0.1, -0.2, 0.0, 0.3],
        latents_std=[0.9, 1.1, 1.0, 0.8],
    )
    transformer = WanTransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=8,
        freq_dim=8,
        ffn_dim=16,
        num_layers=2,
    )
    text = UMT5EncoderModel(
        UMT5Config(vocab_size=len(WORDS) + 3, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0)
    )
    schedulers = {
        "euler": FlowMatchEulerDiscreteScheduler(shift=2.0),
        "unipc": UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0),
    }
    tokenizer = as_transformers(build_tokenizer(WORDS), 8)
    generator = WanGenerator(vae, transformer, text, tokenizer, schedulers[scheduler], max_text_tokens=8)
    return generator.to(dtype).requires_grad_(False).eval()


def tiny_network(seed: int = 0, dtype: torch.dtype = torch.float64) -> AnySplat:
    """AnySplat at 16x16 px with 2x2 tokens."""
    torch.manual_seed(seed)
    config = AnySplatConfig(
        img_size=16,
        patch_size=8,
        embed_dim=16,
        num_heads=2,
        encoder_heads=2,
        encoder_depth=2,
        aggregator_depth=4,
        mlp_ratio=1.0,
        num_registers=1,
        camera_depth=1,
        camera_heads=2,
        dpt_features=8,
        dpt_channels=(8, 8, 8, 8),
        taps=(0, 1, 2, 3),
        layer_scale_init=0.5,
        aggregator_layer_scale_init=0.5,
        gs_features=8,
        gs_channels=(8, 8, 8, 8),
        sh_degree=1,
        voxel_size=None,
        scale_factor=0.05,
        pixel_offset=0.5,
        tangent_offset=0.0,
    )
    return AnySplat(config).to(dtype).requires_grad_(False).eval()
