"""CogVideoX (2B and 5B) on the diffusers classes, from a hub id or a local folder in the hub's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import TrainingPair, VideoGenerator
from vist3a.generators.published import T5_XXL, Part, PublishedSizes
from vist3a.records import Condition

_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
    "clip_sample": False,
}
PUBLISHED: PublishedSizes = MappingProxyType(
    {
        "cogvideox-2b": {
            "vae": Part("diffusers", "AutoencoderKLCogVideoX"),
            "text_encoder": T5_XXL,
            "transformer": Part("diffusers", "CogVideoXTransformer3DModel"),
            "scheduler": Part("diffusers", "CogVideoXDDIMScheduler", {**_SCHEDULE, "snr_shift_scale": 3.0}),
        },
        "cogvideox-5b": {
            "vae": Part("diffusers", "AutoencoderKLCogVideoX", {"scaling_factor": 0.7}),
            "text_encoder": T5_XXL,
            "transformer": Part(
                "diffusers",
                "CogVideoXTransformer3DModel",
                {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True},
            ),
            "scheduler": Part("diffusers", "CogVideoXDPMScheduler", {**_SCHEDULE, "snr_shift_scale": 1.0}),
        },
    }
)


class CogVideoXGenerator(VideoGenerator):
    """CogVideoX: causal video autoencoder, T5 text encoder, diffusion transformer that answers with v.

    Its autoencoder decodes latents in pairs, an odd first one alone, and makes 4n frames of an even number n of latents.
    Clips of 13 and 21 frames have 4 and 6 latents. Their latents are exact; to decode them the last latent is repeated and
    the four frames of the copy are dropped. All frames but the last four are then those that diffusers gives for the
    latents without the last one; the last four share their group normalisation with the copy.
    """

    TEXT_TOKENS = 226
    CLASSES: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "vae": "AutoencoderKLCogVideoX",
        "text_encoder": "T5EncoderModel",
        "transformer": "CogVideoXTransformer3DModel",
        "scheduler": ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"),
    }
    PIPELINE = "CogVideoXPipeline"
    published: ClassVar[PublishedSizes] = PUBLISHED
    temporal_stride = 4

    def __init__(
        self,
        vae: Any | None = None,
        transformer: Any | None = None,
        text_encoder: Any | None = None,
        tokenizer: Any | None = None,
        scheduler: Any | None = None,
        max_text_tokens: int | None = None,
    ) -> None:
        super().__init__(
            max_text_tokens,
            vae=vae,
            transformer=transformer,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=scheduler,
        )
        if vae is not None:
            config = vae.config
            self.channels = config.latent_channels
            self.temporal_stride = int(config.temporal_compression_ratio)
            self.spatial_stride = 2 ** (len(config.block_out_channels) - 1)
            self.scaling_factor = config.scaling_factor
        if transformer is not None:
            config = transformer.config
            if config.patch_size_t is not None:
                raise ValueError("CogVideoX 1.5 (patches in time) is not supported; allowed: CogVideoX 2B and 5B")
            if self.max_text_tokens != config.max_text_seq_length:
                raise ValueError(
                    f"networks.generator.max_text_tokens: {self.max_text_tokens}, but the texts of this denoiser have exactly "
                    f"{config.max_text_seq_length} tokens"
                )

    def _decode_video(self, latents: Tensor) -> Tensor:
        times = latents.shape[2]
        # diffusers makes 4 n frames of an even number n of latents; with a copy of the last one the number is odd.
        if times % 2 == 0:
            latents = torch.cat([latents, latents[:, :, -1:]], dim=2)
        video = self._part("vae").decode(latents, return_dict=False)[0]
        return video[:, :, : (times - 1) * self.temporal_stride + 1]

    def embed(self, prompts: Sequence[str]) -> Condition:
        """See :meth:`VideoGenerator.embed`: ``text`` [batch, tokens, width].

        As published the encoder is given no mask, so that it attends to padding too.
        """
        text, _ = self.text_pipeline().encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_text_tokens,
            device=self._part("text_encoder").device,
        )
        return Condition({"text": text})

    def prediction(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timesteps: Float[Tensor, " batch"],
        condition: Condition,
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.prediction`: v (or what the scheduler's ``prediction_type`` says)."""
        dtype = self.denoiser.dtype
        # The published denoiser has time before the channels.
        answer = self.denoiser(
            noisy.transpose(1, 2).to(dtype),
            condition["text"].to(dtype),
            timesteps,
            image_rotary_emb=self._rotary(noisy),
            return_dict=False,
        )[0]
        return answer.transpose(1, 2).to(noisy.dtype)

    def training_pair(
        self,
        clean: Float[Tensor, "batch channels times rows columns"],
        noise: Float[Tensor, "batch channels times rows columns"],
        level: Float[Tensor, " batch"],
    ) -> TrainingPair:
        """See :meth:`VideoGenerator.training_pair`: the answer is v, the noise turned by a right angle towards minus clean."""
        scheduler = self._part("scheduler")
        if scheduler.config.prediction_type != "v_prediction":
            raise ValueError(f"training with {scheduler.config.prediction_type}: only v_prediction is supported")
        count = scheduler.config.num_train_timesteps
        # Timesteps are whole numbers up to count - 1; level 1 is the last of them.
        timesteps = (level * count).long().clamp(0, count - 1)
        alpha = scheduler.alphas_cumprod.to(clean.device)[timesteps].to(clean.dtype).view(-1, 1, 1, 1, 1)
        # v-prediction (Salimans and Ho, 2022).
        signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
        return TrainingPair(signal * clean + spread * noise, timesteps.to(level.dtype), signal * noise - spread * clean)

    def _rotary(self, noisy: Tensor) -> tuple[Tensor, Tensor] | None:
        """Rotary positions of the 5B network, stretched from its training size to this one as the public pipeline does."""
        config = self.denoiser.config
        if not config.use_rotary_positional_embeddings:
            return None
        from diffusers.models.embeddings import get_3d_rotary_pos_embed
        from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

        # In tokens: the grid of this clip, then the one that the network was trained on.
        grid = (noisy.shape[3] // config.patch_size, noisy.shape[4] // config.patch_size)
        rows, columns = config.sample_height // config.patch_size, config.sample_width // config.patch_size
        cosine, sine = get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            crops_coords=get_resize_crop_region_for_grid(grid, columns, rows),
            grid_size=grid,
            temporal_size=noisy.shape[2],
            device=noisy.device,
        )
        return cosine, sine
