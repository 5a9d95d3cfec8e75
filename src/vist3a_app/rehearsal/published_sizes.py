"""Sizes of the published video generators, to build them with random weights: nothing is downloaded."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch


@dataclass(frozen=True)
class Part:
    """One folder of a generator's repository: library and class of its network, and sizes that differ from the defaults."""

    library: str
    network: str
    sizes: Mapping[str, Any] = field(default_factory=dict)


_UMT5_XXL = Part(
    "transformers",
    "UMT5EncoderModel",
    {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
)
_T5_XXL = Part(
    "transformers",
    "T5EncoderModel",
    {
        "vocab_size": 32128,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
)
_WAN_VAE = Part("diffusers", "AutoencoderKLWan")
_WAN_SCHEDULER = Part(
    "diffusers",
    "UniPCMultistepScheduler",
    {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
)
_COGVIDEOX_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
    "clip_sample": False,
}
PUBLISHED_SIZES: Mapping[str, Mapping[str, Part]] = MappingProxyType(
    {
        "wan-1.3b": {
            "vae": _WAN_VAE,
            "text_encoder": _UMT5_XXL,
            "transformer": Part(
                "diffusers",
                "WanTransformer3DModel",
                {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "text_dim": 4096},
            ),
            "scheduler": _WAN_SCHEDULER,
        },
        "wan-14b": {
            "vae": _WAN_VAE,
            "text_encoder": _UMT5_XXL,
            "transformer": Part("diffusers", "WanTransformer3DModel", {"text_dim": 4096}),
            "scheduler": _WAN_SCHEDULER,
        },
        "cogvideox-2b": {
            "vae": Part("diffusers", "AutoencoderKLCogVideoX"),
            "text_encoder": _T5_XXL,
            "transformer": Part("diffusers", "CogVideoXTransformer3DModel"),
            "scheduler": Part("diffusers", "CogVideoXDDIMScheduler", {**_COGVIDEOX_SCHEDULE, "snr_shift_scale": 3.0}),
        },
        "cogvideox-5b": {
            "vae": Part("diffusers", "AutoencoderKLCogVideoX", {"scaling_factor": 0.7}),
            "text_encoder": _T5_XXL,
            "transformer": Part(
                "diffusers",
                "CogVideoXTransformer3DModel",
                {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True},
            ),
            "scheduler": Part("diffusers", "CogVideoXDPMScheduler", {**_COGVIDEOX_SCHEDULE, "snr_shift_scale": 1.0}),
        },
        "hunyuan-video": {
            "vae": Part("diffusers", "AutoencoderKLHunyuanVideo"),
            "text_encoder": Part(
                "transformers",
                "LlamaModel",
                {
                    "vocab_size": 128320,
                    "hidden_size": 4096,
                    "intermediate_size": 14336,
                    "num_hidden_layers": 32,
                    "num_attention_heads": 32,
                    "num_key_value_heads": 8,
                    "max_position_embeddings": 8192,
                },
            ),
            "text_encoder_2": Part(
                "transformers",
                "CLIPTextModel",
                {
                    "vocab_size": 49408,
                    "hidden_size": 768,
                    "intermediate_size": 3072,
                    "num_hidden_layers": 12,
                    "num_attention_heads": 12,
                    "projection_dim": 768,
                },
            ),
            "transformer": Part("diffusers", "HunyuanVideoTransformer3DModel"),
            "scheduler": Part("diffusers", "FlowMatchEulerDiscreteScheduler", {"shift": 7.0}),
        },
        "svd-xt": {
            "vae": Part(
                "diffusers",
                "AutoencoderKLTemporalDecoder",
                {
                    "down_block_types": ("DownEncoderBlock2D",) * 4,
                    "block_out_channels": (128, 256, 512, 512),
                    "layers_per_block": 2,
                },
            ),
            "image_encoder": Part(
                "transformers",
                "CLIPVisionModelWithProjection",
                {
                    "hidden_size": 1280,
                    "intermediate_size": 5120,
                    "projection_dim": 1024,
                    "num_hidden_layers": 32,
                    "num_attention_heads": 16,
                    "image_size": 224,
                    "patch_size": 14,
                },
            ),
            "unet": Part("diffusers", "UNetSpatioTemporalConditionModel", {"num_attention_heads": (5, 10, 20, 20)}),
            "scheduler": Part(
                "diffusers",
                "EulerDiscreteScheduler",
                {
                    "beta_start": 0.00085,
                    "beta_end": 0.012,
                    "beta_schedule": "scaled_linear",
                    "prediction_type": "v_prediction",
                    "sigma_max": 700.0,
                    "sigma_min": 0.002,
                    "steps_offset": 1,
                    "timestep_spacing": "leading",
                    "timestep_type": "continuous",
                    "use_karras_sigmas": True,
                },
            ),
        },
    }
)
# Published padded lengths are theirs; tokens of the stand-in tokenizer are words of any kind.
_WORDS = ("a", "red", "blue", "ball", "cube", "on", "the", "floor")


def build(part: Part, dtype: torch.dtype, device: torch.device | str, seed: int = 0) -> Any:
    """The network (or scheduler) of a part with random weights that depend on ``seed``, made where it will be."""
    import diffusers
    import transformers

    library: Any = {"diffusers": diffusers, "transformers": transformers}[part.library]
    network_class = getattr(library, part.network)
    if part.network.endswith("Scheduler"):
        return network_class(**part.sizes)
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            if part.library == "diffusers":
                network = network_class(**part.sizes)
            else:
                network = network_class(network_class.config_class(**part.sizes))
    finally:
        torch.set_default_dtype(before)
    # As from_pretrained does: some layers stay in float32 (those of transformers beside float16 only).
    asked = part.library == "diffusers" or dtype == torch.float16
    kept = set(getattr(network, "_keep_in_fp32_modules", None) or ()) if asked else set()
    for name, parameter in network.named_parameters():
        wanted = torch.float32 if kept & set(name.split(".")) else dtype
        if parameter.dtype != wanted:
            parameter.data = parameter.data.to(wanted)
    return network.requires_grad_(False).eval()


def parameter_counts(parts: Mapping[str, Part]) -> dict[str, int]:
    """Parameters of every network by the name of its folder; none is made."""
    networks = {name: build(part, torch.float32, "meta") for name, part in parts.items() if name != "scheduler"}
    return {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}


def write_random(
    parts: Mapping[str, Part],
    folder: Path,
    dtype: torch.dtype,
    device: torch.device | str,
    only: Sequence[str] | None = None,
) -> None:
    """Write a repository in diffusers' layout with random weights, one network after the other; ``only`` some of its folders."""
    for name, part in parts.items():
        if only is not None and name not in only:
            continue
        network = build(part, dtype, device)
        network.save_pretrained(folder / name)
        if name.startswith("text_encoder"):
            _tokenizer().save_pretrained(folder / name.replace("text_encoder", "tokenizer"))
        del network
        gc.collect()


def _tokenizer() -> Any:
    from vist3a.generators.word_tokenizer import as_transformers, build_tokenizer

    return as_transformers(build_tokenizer(_WORDS), 512)
