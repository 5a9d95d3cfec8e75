"""LTX-Video for vist3a: the networks and the text encoding of diffusers, and what is particular about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.generators.published import T5_XXL, Part
from vist3a.records import Condition

# The published networks have the sizes that diffusers takes by default. They are stated for rehearsals, which build them with
# random weights before anything is downloaded.
PUBLISHED = {
    "Lightricks/LTX-Video": {
        "vae": Part("diffusers", "AutoencoderKLLTXVideo"),
        "text_encoder": T5_XXL,
        "transformer": Part("diffusers", "LTXVideoTransformer3DModel"),
        "scheduler": Part(
            "diffusers",
            "FlowMatchEulerDiscreteScheduler",
            {
                "use_dynamic_shifting": True,
                "base_shift": 0.95,
                "max_shift": 2.05,
                "base_image_seq_len": 1024,
                "max_image_seq_len": 4096,
                "shift_terminal": 0.1,
            },
        ),
    }
}
FRAME_RATE = 25
"""Frames per second that the denoiser's positions are told."""


class LTXVideoGenerator(VideoGenerator):
    """LTX-Video: 8n+1 frames, autoencoder of stride 32 in space and 8 in time, T5, flow matching on a row of latent cells.

    The scheduler says ``use_dynamic_shifting``: its shift follows from the number of cells, as the contract does by default.
    """

    TEXT_TOKENS = 128
    CLASSES = {  # noqa: RUF012
        "vae": "AutoencoderKLLTXVideo",
        "text_encoder": "T5EncoderModel",
        "transformer": "LTXVideoTransformer3DModel",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    }
    PIPELINE = "LTXPipeline"
    TIME_EMBEDDER = "time_embed.emb.timestep_embedder"
    published = PUBLISHED
    temporal_stride = 8
    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, max_text_tokens: int | None = None, **parts: Any) -> None:
        super().__init__(max_text_tokens, **parts)
        vae, transformer = self.vae, self.transformer
        if vae is not None:
            self.channels = vae.config.latent_channels
            self.spatial_stride = vae.spatial_compression_ratio
            self.temporal_stride = vae.temporal_compression_ratio
            self.scaling_factor = vae.config.scaling_factor
            for name in ("latents_mean", "latents_std"):
                # Copies, which stay when the autoencoder is released.
                self.register_buffer(name, getattr(vae, name).detach().clone().view(1, -1, 1, 1, 1), persistent=False)
        if transformer is not None and (transformer.config.patch_size, transformer.config.patch_size_t) != (1, 1):
            raise ValueError("LTX-Video with patches of several cells is not supported; allowed: patch_size 1")

    def normalise(self, latents: Tensor) -> Tensor:
        """Statistics per channel come with the autoencoder."""
        return (latents - self.latents_mean) * self.scaling_factor / self.latents_std

    def denormalise(self, latents: Tensor) -> Tensor:
        """Inverse of ``normalise``."""
        return latents * self.latents_std / self.scaling_factor + self.latents_mean

    def _decode_video(self, latents: Tensor) -> Tensor:
        # Newer decoders are told how much noise is left in the latents: none, as the public pipeline's default says.
        told = latents.new_zeros(len(latents)) if self.vae.config.timestep_conditioning else None
        return self._part("vae").decode(latents, told, return_dict=False)[0]

    def save_memory(self) -> None:
        """In tiles; clip by clip the public decoder fails where it is told the noise."""
        self._part("vae").enable_tiling()

    def embed(self, prompts: Sequence[str]) -> Condition:
        """``text`` [batch, tokens, width] and the ``mask`` of its padding."""
        text, mask, _, _ = self.text_pipeline().encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_text_tokens,
            device=self._part("text_encoder").device,
        )
        return Condition({"text": text, "mask": mask})

    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """Noise minus clean latents; the denoiser sees the cells of all frames in a row."""
        dtype, grid = self.denoiser.dtype, noisy.shape[2:]
        stride = self.spatial_stride
        answer = self.denoiser(
            hidden_states=noisy.flatten(2).transpose(1, 2).to(dtype),
            encoder_hidden_states=condition["text"].to(dtype),
            timestep=timesteps,
            encoder_attention_mask=condition["mask"],
            num_frames=grid[0],
            height=grid[1],
            width=grid[2],
            rope_interpolation_scale=(self.temporal_stride / FRAME_RATE, stride, stride),
            return_dict=False,
        )[0]
        return answer.transpose(1, 2).unflatten(2, grid).to(noisy.dtype)

    def noise_levels(self, steps: int) -> list[float]:
        """Equidistant from 1 to 1 / steps."""
        levels: list[float] = np.linspace(1.0, 1 / steps, steps).tolist()
        return levels
