"""Wan 2.1 text-to-video on the diffusers classes, from a hub id or a local folder in the hub's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.adapters.lora import has_adapter
from vist3a.generators.base import TrainingPair, VideoGenerator, flow_matching_pair
from vist3a.generators.hub_folder import HubFolder
from vist3a.generators.wan_constant_text import constant_text, fits, fuse_projections
from vist3a.records import Condition

SCHEDULERS = ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler")


class WanGenerator(VideoGenerator):
    """Wan 2.1: causal video autoencoder, UMT5 text encoder, flow-matching transformer (the prediction is a velocity)."""

    TEXT_TOKENS = 512
    latents_mean: Tensor
    latents_std: Tensor
    whole_clip = False
    """Whether clips are decoded in one pass instead of four frames at a time: faster on a GPU, for more memory."""
    recomputes_decoder = False
    """Whether a graph through the video decoder keeps inputs of blocks only (in one pass over the clip)."""
    compiles_decoder = False
    """Whether a graph through the video decoder is one of compiled blocks (in one pass over the clip)."""

    def __init__(
        self,
        vae: Any | None,
        transformer: Any | None,
        text_encoder: Any | None,
        tokenizer: Any | None,
        scheduler: Any | None,
        max_text_tokens: int,
    ) -> None:
        super().__init__()
        self.vae, self.transformer, self.text_encoder = vae, transformer, text_encoder
        self.tokenizer, self.scheduler = tokenizer, scheduler
        self.max_text_tokens = max_text_tokens
        if vae is not None:
            config = vae.config
            self.channels = config.z_dim
            self.temporal_stride = 2 ** sum(config.temperal_downsample)
            self.spatial_stride = 2 ** (len(config.dim_mult) - 1) * (config.patch_size or 1)
            shape = (1, config.z_dim, 1, 1, 1)
            self.register_buffer("latents_mean", torch.tensor(config.latents_mean).view(shape), persistent=False)
            self.register_buffer("latents_std", torch.tensor(config.latents_std).view(shape), persistent=False)

    @classmethod
    def _load(cls, folder: HubFolder, parts: Sequence[str], max_text_tokens: int) -> WanGenerator:
        vae = transformer = text_encoder = tokenizer = scheduler = None
        if "vae" in parts:
            from diffusers import AutoencoderKLWan

            vae = folder.network(AutoencoderKLWan, "vae")
        if "text" in parts or "tokenizer" in parts:
            tokenizer = folder.tokenizer("tokenizer")
        if "text" in parts:
            from transformers import UMT5EncoderModel

            text_encoder = folder.encoder(UMT5EncoderModel, "text_encoder")
        if "denoiser" in parts:
            from diffusers import WanTransformer3DModel

            transformer = folder.network(WanTransformer3DModel, "transformer")
            scheduler = folder.scheduler(SCHEDULERS)
        return cls(vae, transformer, text_encoder, tokenizer, scheduler, max_text_tokens)

    @property
    def spatial_multiple(self) -> int:
        """Autoencoder stride times the denoiser's spatial patch (1 without a denoiser)."""
        patch = self.transformer.config.patch_size[-1] if self.transformer is not None else 1
        return self.spatial_stride * patch

    def _decode_video(self, latents: Tensor) -> Tensor:
        graph = latents.requires_grad and torch.is_grad_enabled()
        recompute, compiled = graph and self.recomputes_decoder, graph and self.compiles_decoder
        if self.whole_clip or recompute or compiled:
            from vist3a.generators.wan_whole_clip import decode_video

            return decode_video(self._part("vae"), latents, recompute, compiled).clamp(-1, 1)
        return super()._decode_video(latents)

    def normalise(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.normalise`; statistics per channel come with the autoencoder."""
        return (latents - self.latents_mean) / self.latents_std

    def denormalise(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.denormalise`."""
        return latents * self.latents_std + self.latents_mean

    def embed(self, prompts: Sequence[str]) -> Condition:
        """See :meth:`VideoGenerator.embed`: ``text`` [batch, tokens, width]; the empty prompt is the unconditional one."""
        encoder = self._part("text_encoder")
        tokens = self.tokenize(prompts)
        ids, mask = tokens["input_ids"].to(encoder.device), tokens["attention_mask"].to(encoder.device)
        states = encoder(ids, mask).last_hidden_state
        # Wan feeds exact zeros behind the end of the prompt, not the encoder's outputs at padding.
        return Condition({"text": states * mask[..., None].to(states.dtype)})

    def cut_prompts(self, prompts: Sequence[str]) -> list[tuple[str, int, int]]:
        """See :meth:`VideoGenerator.cut_prompts`."""
        # A limit that no prompt reaches: without any the tokenizer would warn on its own.
        rows = self._part("tokenizer")(list(prompts), truncation=True, max_length=1_000_000)["input_ids"]
        counts = zip(prompts, map(len, rows), strict=True)
        return [(prompt, count, self.max_text_tokens) for prompt, count in counts if count > self.max_text_tokens]

    def tokenize(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids and mask [batch, max_text_tokens]; longer prompts are cut."""
        return dict(
            self._part("tokenizer")(
                list(prompts),
                padding="max_length",
                max_length=self.max_text_tokens,
                truncation=True,
                return_attention_mask=True,
                return_tensors="pt",
            )
        )

    def prediction(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timesteps: Float[Tensor, " batch"],
        condition: Condition,
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.prediction`: noise minus clean latents; timestep = 1000 sigma."""
        dtype = self.denoiser.dtype
        answer = self.denoiser(noisy.to(dtype), timesteps, condition["text"].to(dtype), return_dict=False)[0]
        return answer.to(noisy.dtype)

    @contextmanager
    def denoising(
        self, condition: Condition, negative: Condition | None, guidance: float, batch: int
    ) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
        """See :meth:`VideoGenerator.denoising`: the text's keys and values are computed once."""
        compared = self._compared(condition, negative, guidance, batch)
        text = compared["text"].to(self.denoiser.dtype)
        if not fits(self.denoiser, text):
            with super().denoising(condition, negative, guidance, batch) as predict:
                yield predict
            return
        # Only the number of rows is still read.
        rows = Condition({"text": text[:, :1]})
        with constant_text(self.denoiser, text):
            yield lambda noisy, timestep: self._combined(noisy, timestep, rows, guidance, self.prediction)

    def accelerate(self, mode: str | None = None) -> None:
        """See :meth:`VideoGenerator.accelerate`; projections of one input are fused, too, unless adapters stay beside them."""
        if self.transformer is not None and not has_adapter(self.transformer):
            fuse_projections(self.transformer)
        super().accelerate(mode)

    def checkpoint_gradients(self, denoiser: bool = True) -> None:
        """See :meth:`VideoGenerator.checkpoint_gradients`."""
        super().checkpoint_gradients(denoiser)
        self.recomputes_decoder = True

    def compile_for_training(self) -> None:
        """See :meth:`VideoGenerator.compile_for_training`; the video decoder's blocks where a graph goes through them, too."""
        super().compile_for_training()
        self.compiles_decoder = True

    def training_pair(
        self,
        clean: Float[Tensor, "batch channels times rows columns"],
        noise: Float[Tensor, "batch channels times rows columns"],
        level: Float[Tensor, " batch"],
    ) -> TrainingPair:
        """See :meth:`VideoGenerator.training_pair`."""
        return flow_matching_pair(clean, noise, level)
