"""A tiny random LTX-Video of the example in examples/ltx_video, and what diffusers' pipeline makes of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from tiny_networks import WORDS

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "ltx_video"
PLACE = "ltx_video_example:LTXVideoGenerator"
if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))


def tiny_ltx(seed: int = 0, told_noise: bool = False) -> Any:
    """8n+1 frames, stride 32; ``told_noise``: the newer decoder, which is told how much noise the latents have."""
    from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel
    from ltx_video_example import LTXVideoGenerator
    from transformers import T5Config, T5EncoderModel

    from vist3a.generators.word_tokenizer import as_transformers, build_tokenizer

    torch.manual_seed(seed)
    vae = AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        timestep_conditioning=told_noise,
        scaling_factor=0.7,
    )
    vae.latents_mean.copy_(torch.tensor([0.1, -0.2, 0.0, 0.3]))
    vae.latents_std.copy_(torch.tensor([0.9, 1.1, 1.0, 0.8]))
    transformer = LTXVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        caption_channels=8,
    )
    text = T5EncoderModel(
        T5Config(vocab_size=len(WORDS) + 3, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0)
    )
    # As published; a steeper line, so that few cells shift differently.
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=8,
        max_image_seq_len=64,
        shift_terminal=0.1,
    )
    return LTXVideoGenerator(
        8,
        vae=vae,
        transformer=transformer,
        text_encoder=text,
        tokenizer=as_transformers(build_tokenizer(WORDS), 8),
        scheduler=scheduler,
    )


def public_ltx(generator: Any) -> Any:
    """The diffusers pipeline of a generator's own networks."""
    from diffusers import LTXPipeline

    names = ("vae", "transformer", "text_encoder", "tokenizer", "scheduler")
    pipeline = LTXPipeline(**{name: getattr(generator, name) for name in names})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def published_ltx(generator: Any, request: Any) -> torch.Tensor:
    """What the kit asks for."""
    against: dict[str, Any] = {}
    if request.guidance != 1:
        against["negative_prompt_embeds"] = request.negative["text"]
        against["negative_prompt_attention_mask"] = request.negative["mask"]
    made = public_ltx(generator)(
        latents=request.noise.flatten(2).transpose(1, 2),
        prompt_embeds=request.condition["text"],
        prompt_attention_mask=request.condition["mask"],
        height=request.height,
        width=request.width,
        num_frames=request.frames,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        output_type=request.output,
        **against,
    ).frames
    return made.transpose(1, 2).unflatten(2, request.noise.shape[2:]) if request.output == "latent" else made
