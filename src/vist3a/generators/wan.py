"""Wan 2.1 text-to-video on the diffusers classes, from a hub id or a local folder in the hub's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.adapters.lora import has_adapter
from vist3a.generators.base import VideoGenerator
from vist3a.generators.published import Part, PublishedSizes
from vist3a.generators.wan_constant_text import constant_text, fits, fuse_projections
from vist3a.records import Condition

_TEXT = Part(
    "transformers",
    "UMT5EncoderModel",
    {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
)
_VAE = Part("diffusers", "AutoencoderKLWan")
_SCHEDULER = Part(
    "diffusers",
    "UniPCMultistepScheduler",
    {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
)
PUBLISHED: PublishedSizes = MappingProxyType(
    {
        "wan-1.3b": {
            "vae": _VAE,
            "text_encoder": _TEXT,
            "transformer": Part(
                "diffusers",
                "WanTransformer3DModel",
                {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, "text_dim": 4096},
            ),
            "scheduler": _SCHEDULER,
        },
        "wan-14b": {
            "vae": _VAE,
            "text_encoder": _TEXT,
            "transformer": Part("diffusers", "WanTransformer3DModel", {"text_dim": 4096}),
            "scheduler": _SCHEDULER,
        },
    }
)


class WanGenerator(VideoGenerator):
    """Wan 2.1: causal video autoencoder, UMT5 text encoder, flow-matching transformer (the prediction is a velocity)."""

    TEXT_TOKENS = 512
    CLASSES: ClassVar[Mapping[str, str | tuple[str, ...]]] = {
        "vae": "AutoencoderKLWan",
        "text_encoder": "UMT5EncoderModel",
        "transformer": "WanTransformer3DModel",
        "scheduler": ("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"),
    }
    PIPELINE = "WanPipeline"
    TIME_EMBEDDER = "condition_embedder.time_embedder"
    published: ClassVar[PublishedSizes] = PUBLISHED
    temporal_stride = 4
    vae: Any
    transformer: Any
    latents_mean: Tensor
    latents_std: Tensor
    whole_clip = False
    """Whether clips are decoded in one pass instead of four frames at a time: faster on a GPU, for more memory."""
    recomputes_decoder = False
    """Whether a graph through the video decoder keeps inputs of blocks only (in one pass over the clip)."""
    compiles_decoder = False
    """Whether a graph through the video decoder is one of compiled blocks (in one pass over the clip)."""
    _by_chunks = False

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
            self.channels = config.z_dim
            # The spelling ``temperal`` is diffusers'.
            self.temporal_stride = 2 ** sum(config.temperal_downsample)
            self.spatial_stride = 2 ** (len(config.dim_mult) - 1) * (config.patch_size or 1)
            shape = (1, config.z_dim, 1, 1, 1)
            self.register_buffer("latents_mean", torch.tensor(config.latents_mean).view(shape), persistent=False)
            self.register_buffer("latents_std", torch.tensor(config.latents_std).view(shape), persistent=False)

    def decode_gradient(
        self,
        latents: Float[Tensor, "batch channels times rows columns"],
        at_frames: Float[Tensor, "batch views 3 height width"],
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.decode_gradient`; the graph holds four frames at a time."""
        self._by_chunks = True
        try:
            return super().decode_gradient(latents, at_frames)
        finally:
            self._by_chunks = False

    def _decode_video(self, latents: Tensor) -> Tensor:
        if self._by_chunks:
            from vist3a.generators.wan_chunks import decode_by_chunks

            return decode_by_chunks(self._part("vae"), latents).clamp(-1, 1)
        graph = latents.requires_grad and torch.is_grad_enabled()
        # Only the pass over the whole clip recomputes blocks or runs compiled ones; diffusers' own goes by four frames.
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
        text, _ = self.text_pipeline().encode_prompt(
            [text for text, _ in self.read_as(prompts)],
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_text_tokens,
            device=self._part("text_encoder").device,
        )
        return Condition({"text": text})

    def cut_prompts(self, prompts: Sequence[str]) -> list[tuple[str, int, int]]:
        """See :meth:`VideoGenerator.cut_prompts`."""
        # A limit that no prompt reaches: without any the tokenizer would warn on its own.
        rows = self._part("tokenizer")(list(prompts), truncation=True, max_length=1_000_000)["input_ids"]
        counts = zip(prompts, map(len, rows), strict=True)
        return [(prompt, count, self.max_text_tokens) for prompt, count in counts if count > self.max_text_tokens]

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
        # Sharded or streamed layers have no whole weights here, and keys of an image are not covered: the ordinary way.
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
        # Adapters sit beside single projections, which fusing removes.
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
