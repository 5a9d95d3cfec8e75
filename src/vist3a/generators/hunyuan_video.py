"""HunyuanVideo on the diffusers classes, from a hub id or a local folder in the hub's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import TrainingPair, VideoGenerator, flow_matching_pair
from vist3a.generators.hub_folder import HubFolder
from vist3a.generators.sampler import Sampler
from vist3a.records import Condition

SCHEDULERS = ("FlowMatchEulerDiscreteScheduler",)
CLIP_TOKENS = 77
SKIPPED_LAYERS = 2


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
    uses_negative = False

    def __init__(
        self,
        vae: Any | None,
        transformer: Any | None,
        text_encoders: Sequence[Any],
        tokenizers: Sequence[Any],
        scheduler: Any | None,
        max_text_tokens: int,
    ) -> None:
        super().__init__()
        self.vae, self.transformer, self.scheduler = vae, transformer, scheduler
        self.text_encoder, self.text_encoder_2 = text_encoders
        self.tokenizer, self.tokenizer_2 = tokenizers
        self.max_text_tokens = max_text_tokens
        if vae is not None:
            config = vae.config
            self.channels = config.latent_channels
            self.temporal_stride, self.spatial_stride = (
                config.temporal_compression_ratio,
                config.spatial_compression_ratio,
            )
            self.scaling_factor = config.scaling_factor

    @classmethod
    def _load(cls, folder: HubFolder, parts: Sequence[str], max_text_tokens: int) -> HunyuanVideoGenerator:
        vae = transformer = scheduler = None
        text_encoders = tokenizers = (None, None)
        if "vae" in parts:
            from diffusers import AutoencoderKLHunyuanVideo

            vae = folder.network(AutoencoderKLHunyuanVideo, "vae")
        if "text" in parts or "tokenizer" in parts:
            tokenizers = folder.tokenizer("tokenizer"), folder.tokenizer("tokenizer_2")
        if "text" in parts:
            from transformers import CLIPTextModel, LlamaModel

            text_encoders = folder.encoder(LlamaModel, "text_encoder"), folder.encoder(CLIPTextModel, "text_encoder_2")
        if "denoiser" in parts:
            from diffusers import HunyuanVideoTransformer3DModel

            transformer = folder.network(HunyuanVideoTransformer3DModel, "transformer")
            scheduler = folder.scheduler(SCHEDULERS)
        return cls(vae, transformer, text_encoders, tokenizers, scheduler, max_text_tokens)

    @property
    def spatial_multiple(self) -> int:
        """Autoencoder stride times the denoiser's patch (1 without a denoiser)."""
        return self.spatial_stride * (self.transformer.config.patch_size if self.transformer is not None else 1)

    def embed(self, prompts: Sequence[str]) -> Condition:
        """See :meth:`VideoGenerator.embed`.

        ``text`` [batch, tokens, width] are the states of an inner layer of Llama, asked for a description of a video by the
        published template, whose own tokens are cut off; ``mask`` marks padding; ``pooled`` [batch, width] is CLIP's vector.
        """
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE as TEMPLATE

        encoder, encoder_2 = self._part("text_encoder"), self._part("text_encoder_2")
        start = int(TEMPLATE["crop_start"])
        tokens = self.tokenizer(
            [TEMPLATE["template"].format(prompt) for prompt in prompts],
            padding="max_length",
            max_length=self.max_text_tokens + start,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = tokens["input_ids"].to(encoder.device), tokens["attention_mask"].to(encoder.device)
        states = encoder(ids, mask, output_hidden_states=True).hidden_states[-(SKIPPED_LAYERS + 1)]
        short = self.tokenizer_2(
            list(prompts), padding="max_length", max_length=CLIP_TOKENS, truncation=True, return_tensors="pt"
        )
        pooled = encoder_2(short["input_ids"].to(encoder_2.device)).pooler_output
        return Condition({"text": states[:, start:], "mask": mask[:, start:], "pooled": pooled})

    def _compared(self, condition: Condition, negative: Condition | None, guidance: float, batch: int) -> Condition:
        """The denoiser is told the guidance; ``negative`` is not used."""
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
            guidance=strength.to(dtype) * 1000.0,
            return_dict=False,
        )[0]
        return answer.to(noisy.dtype)

    def sampler(self, steps: int, device: torch.device | str = "cpu", flow_shift: float | None = None) -> Sampler:
        """See :meth:`VideoGenerator.sampler`; noise levels before the shift are equidistant from 1, without 0."""
        sigmas = np.linspace(1.0, 0.0, steps + 1)[:-1].tolist()
        return Sampler(self._part("scheduler"), steps, device, flow_shift, sigmas)

    def training_pair(
        self,
        clean: Float[Tensor, "batch channels times rows columns"],
        noise: Float[Tensor, "batch channels times rows columns"],
        level: Float[Tensor, " batch"],
    ) -> TrainingPair:
        """See :meth:`VideoGenerator.training_pair`."""
        return flow_matching_pair(clean, noise, level)
