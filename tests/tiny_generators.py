"""A tiny random instance of every generator on the real classes, float32, and the public pipeline of the same networks."""

from __future__ import annotations

from typing import Any

import torch
from tiny_networks import WORDS, tiny_generator

from vist3a.generators.base import VideoGenerator
from vist3a.testing.generators import Encoder, Request, public_encoder

# Every adapter; CogVideoX with fixed and with rotary positions, with its deterministic and its stochastic sampler.
KINDS = ("wan", "cogvideox", "cogvideox-rotary", "hunyuan_video", "svd")
FAMILIES = ("wan", "cogvideox", "hunyuan_video", "svd")
STRIDE = 8


def family(kind: str) -> str:
    """The name that ``networks.generator.family`` takes."""
    return kind.split("-", maxsplit=1)[0]


def tiny(kind: str, seed: int = 0) -> VideoGenerator:
    """The generator: stride 8 in space, 4 latent channels, 8 text tokens where that is free."""
    if kind == "wan":
        return tiny_generator(seed, "unipc", torch.float32)
    torch.manual_seed(seed)
    builders = {"cogvideox": _cogvideox, "hunyuan_video": _hunyuan_video, "svd": _svd}
    generator = builders[family(kind)](*(["rotary" in kind] if "cogvideox" in kind else []))
    return generator.requires_grad_(False).eval()


def public_pipeline(generator: VideoGenerator) -> Any:
    """The diffusers pipeline of a generator's own networks."""
    import diffusers
    from transformers import CLIPImageProcessorPil

    parts = {name: getattr(generator, name) for names in generator.ATTRIBUTES.values() for name in names}
    names = {
        "WanGenerator": "WanPipeline",
        "CogVideoXGenerator": "CogVideoXPipeline",
        "HunyuanVideoGenerator": "HunyuanVideoPipeline",
        "SVDGenerator": "StableVideoDiffusionPipeline",
    }
    if "image_encoder" in parts:
        parts["feature_extractor"] = CLIPImageProcessorPil()
    pipeline = getattr(diffusers, names[type(generator).__name__])(**parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def published(generator: VideoGenerator, request: Request) -> torch.Tensor:
    """What the public pipeline makes of a request of the conformance kit."""
    from PIL import Image

    pipeline, name = public_pipeline(generator), type(generator).__name__
    common: dict[str, Any] = {"height": request.height, "width": request.width, "num_frames": request.frames}
    common |= {"num_inference_steps": request.steps, "output_type": request.output}
    common["generator"] = torch.Generator().manual_seed(request.seed)
    times_first = name in ("SVDGenerator", "CogVideoXGenerator")
    noise = request.noise.transpose(1, 2) if times_first else request.noise
    if name == "SVDGenerator":
        assert request.picture is not None
        pixels = (request.picture[0] * 255).round().byte().permute(1, 2, 0).numpy()
        made = pipeline(Image.fromarray(pixels), max_guidance_scale=request.guidance, latents=noise, **common).frames
    elif name == "HunyuanVideoGenerator":
        condition = request.condition
        made = pipeline(
            latents=noise,
            guidance_scale=request.guidance,
            prompt_embeds=condition["text"],
            prompt_attention_mask=condition["mask"],
            pooled_prompt_embeds=condition["pooled"],
            **common,
        ).frames
    else:
        assert request.negative is not None
        texts = {"prompt_embeds": request.condition["text"], "negative_prompt_embeds": request.negative["text"]}
        made = pipeline(latents=noise, guidance_scale=request.guidance, **texts, **common).frames
    return made.transpose(1, 2) if times_first and request.output == "latent" else made


def public_encoder_of(kind: str) -> Encoder:
    """Raw latents of a generator's own autoencoder; that of SVD is one of pictures."""
    return _picture_by_picture if kind == "svd" else public_encoder


def _picture_by_picture(generator: VideoGenerator, video: torch.Tensor) -> torch.Tensor:
    frames = [generator.vae.encode(video[:, :, i]).latent_dist.mode() for i in range(video.shape[2])]
    return torch.stack(frames, dim=2)


def _tokenizer(length: int) -> Any:
    from vist3a.generators.word_tokenizer import as_transformers, build_tokenizer

    return as_transformers(build_tokenizer(WORDS), length)


def _cogvideox(rotary: bool) -> VideoGenerator:
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXDPMScheduler,
        CogVideoXTransformer3DModel,
    )
    from transformers import T5Config, T5EncoderModel

    from vist3a.generators.cogvideox import CogVideoXGenerator

    vae = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
        scaling_factor=0.7,
    )
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=8,
        num_layers=2,
        sample_width=8,
        sample_height=6,
        sample_frames=9,
        patch_size=2,
        max_text_seq_length=8,
        use_rotary_positional_embeddings=rotary,
    )
    text = T5EncoderModel(
        T5Config(vocab_size=len(WORDS) + 3, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, dropout_rate=0.0)
    )
    settings = {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
    scheduler = (CogVideoXDPMScheduler if rotary else CogVideoXDDIMScheduler)(**settings)
    return CogVideoXGenerator(vae, transformer, text, _tokenizer(8), scheduler, 8)


def _hunyuan_video() -> VideoGenerator:
    from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel
    from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

    from vist3a.generators.hunyuan_video import HunyuanVideoGenerator

    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=2
    )
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=2,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    words = len(WORDS) + 3
    llama = LlamaModel(
        LlamaConfig(
            vocab_size=words,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            max_position_embeddings=512,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    )
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=8,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=7.0)
    return HunyuanVideoGenerator(vae, transformer, llama, clip, _tokenizer(128), _tokenizer(77), scheduler, 16)


def _svd() -> VideoGenerator:
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from vist3a.generators.svd import SVDGenerator

    vae = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(32, 32, 32, 32), layers_per_block=1
    )
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 32),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        cross_attention_dim=16,
        num_attention_heads=(2, 2),
        projection_class_embeddings_input_dim=24,
        addition_time_embed_dim=8,
    )
    image_encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            projection_dim=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=224,  # the public pipeline knows no other
            patch_size=112,
        )
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        sigma_max=700.0,
        sigma_min=0.002,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )
    return SVDGenerator(vae, unet, image_encoder, scheduler)
