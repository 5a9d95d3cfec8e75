"""HunyuanVideo on the diffusers classes, from a hub id or a local folder in the hub's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.generators.published import Part, PublishedSizes
from vist3a.records import Condition

PUBLISHED: PublishedSizes = MappingProxyType(
    {
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
    }
)


class HunyuanVideoGenerator(VideoGenerator):
    """HunyuanVideo: causal video autoencoder, Llama and CLIP text encoders, flow-matching transformer.

    Guidance is distilled into the denoiser, which is told its strength: one forward pass per step, no negative prompt.
    """

    TEXT_TOKENS = 256
    ATTRIBUTES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vae": ("vae",),
        "tokenizer": ("tokenizer", "tokenizer_2"),
        "text": ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"),
        "denoiser": ("transformer", "scheduler"),
    }
    CLASSES: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "vae": "AutoencoderKLHunyuanVideo",
        "text_encoder": "LlamaModel",
        "text_encoder_2": "CLIPTextModel",
        "transformer": "HunyuanVideoTransformer3DModel",
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    }
    PIPELINE = "HunyuanVideoPipeline"
    TIME_EMBEDDER = "time_text_embed.timestep_embedder"
    published: ClassVar[PublishedSizes] = PUBLISHED
    temporal_stride = 4
    uses_negative = False

    def __init__(
        self,
        vae: Any | None = None,
        transformer: Any | None = None,
        text_encoder: Any | None = None,
        text_encoder_2: Any | None = None,
        tokenizer: Any | None = None,
        tokenizer_2: Any | None = None,
        scheduler: Any | None = None,
        max_text_tokens: int | None = None,
    ) -> None:
        super().__init__(
            max_text_tokens,
            vae=vae,
            transformer=transformer,
            scheduler=scheduler,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
        )
        if vae is not None:
            config = vae.config
            self.channels = config.latent_channels
            self.temporal_stride, self.spatial_stride = (
                config.temporal_compression_ratio,
                config.spatial_compression_ratio,
            )
            self.scaling_factor = config.scaling_factor

    def embed(self, prompts: Sequence[str]) -> Condition:
        """See :meth:`VideoGenerator.embed`.

        ``text`` [batch, tokens, width] are the states of an inner layer of Llama, asked for a description of a video by the
        published template, whose own tokens are cut off; ``mask`` marks padding; ``pooled`` [batch, width] is CLIP's vector.
        """
        text, pooled, mask = self.text_pipeline().encode_prompt(
            list(prompts), max_sequence_length=self.max_text_tokens, device=self._part("text_encoder").device
        )
        return Condition({"text": text, "mask": mask, "pooled": pooled})

    def _compared(self, condition: Condition, negative: Condition | None, guidance: float, batch: int) -> Condition:
        """The denoiser is told the guidance; ``negative`` is not used."""
        # A tensor of the condition with one row per sample, so that it is cut and repeated as the others are.
        strength = condition["pooled"].new_full((len(condition),), guidance)
        return Condition({**condition.tensors, "guidance": strength})

    def prediction(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timesteps: Float[Tensor, " batch"],
        condition: Condition,
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.prediction`: noise minus clean latents; timestep = 1000 sigma.

        Guidance is that of the condition's tensor ``guidance``, 1 where it has none.
        """
        dtype = self.denoiser.dtype
        strength = condition.tensors.get("guidance", torch.ones(len(noisy), device=noisy.device))
        answer = self.denoiser(
            noisy.to(dtype),
            timesteps,
            condition["text"].to(dtype),
            condition["mask"].to(dtype),
            condition["pooled"].to(dtype),
            # The denoiser was trained with guidance times 1000.
            guidance=strength.to(dtype) * 1000.0,
            return_dict=False,
        )[0]
        return answer.to(noisy.dtype)

    def noise_levels(self, steps: int) -> Sequence[float]:
        """See :meth:`VideoGenerator.noise_levels`: equidistant."""
        # Without level 0, which the scheduler adds itself.
        levels: list[float] = np.linspace(1.0, 0.0, steps + 1)[:-1].tolist()
        return levels
