"""Wan 2.1 text-to-video on the diffusers classes, from a hub id or a local folder in the hub's layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.models.generators.base import VideoGenerator
from vist3a.models.word_tokenizer import UnknownWords, unknown_words

PARTS = ("vae", "text", "denoiser")


class WanGenerator(VideoGenerator):
    """Wan 2.1: causal video autoencoder, UMT5 text encoder, flow-matching transformer.

    Any part may be missing (``None``): the layer search needs the autoencoder only. Using a missing part is a
    ``RuntimeError`` that names it.
    """

    latents_mean: Tensor
    latents_std: Tensor

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
    def from_pretrained(
        cls,
        source: str,
        *,
        revision: str | None = None,
        parts: Sequence[str] = PARTS,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        max_text_tokens: int = 512,
    ) -> WanGenerator:
        """Load the named parts of a folder (or hub id) with subfolders vae, text_encoder, tokenizer, transformer, scheduler.

        Only safetensors files are read. ``max_text_tokens`` is the padded prompt length.
        """
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise ValueError(f"unknown parts {unknown}; allowed: {', '.join(PARTS)}")
        vae = transformer = text_encoder = tokenizer = scheduler = None
        where: dict[str, Any] = {"revision": revision, "use_safetensors": True}
        if "vae" in parts:
            from diffusers import AutoencoderKLWan

            vae = AutoencoderKLWan.from_pretrained(source, subfolder="vae", torch_dtype=dtype, **where)
        if "text" in parts:
            from transformers import AutoTokenizer, UMT5EncoderModel

            tokenizer = AutoTokenizer.from_pretrained(source, subfolder="tokenizer", revision=revision)
            text_encoder = UMT5EncoderModel.from_pretrained(source, subfolder="text_encoder", dtype=dtype, **where)
        if "denoiser" in parts:
            from diffusers import WanTransformer3DModel

            transformer = WanTransformer3DModel.from_pretrained(
                source, subfolder="transformer", torch_dtype=dtype, **where
            )
            scheduler = _load_scheduler(source, revision)
        generator = cls(vae, transformer, text_encoder, tokenizer, scheduler, max_text_tokens)
        return generator.requires_grad_(False).eval().to(device)

    @property
    def spatial_multiple(self) -> int:
        """Autoencoder stride times the denoiser's spatial patch (1 without a denoiser)."""
        patch = self.transformer.config.patch_size[-1] if self.transformer is not None else 1
        return self.spatial_stride * patch

    def encode(
        self, frames: Float[Tensor, "batch views 3 height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.encode`."""
        vae = self._part("vae")
        self.latent_grid(frames.shape[1], frames.shape[3], frames.shape[4])
        video = (frames.transpose(1, 2) * 2 - 1).to(vae.dtype)
        posterior = vae.encode(video, return_dict=False)[0]
        return posterior.mode() if generator is None else posterior.sample(generator)

    def decode(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch views 3 height width"]:
        """See :meth:`VideoGenerator.decode`; the autoencoder clamps to the valid range."""
        vae = self._part("vae")
        video = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        return (video.transpose(1, 2) + 1) / 2

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

    def embed(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens text_width"]:
        """See :meth:`VideoGenerator.embed`."""
        encoder = self._part("text_encoder")
        tokens = self.tokenize(prompts)
        ids, mask = tokens["input_ids"].to(encoder.device), tokens["attention_mask"].to(encoder.device)
        states = encoder(ids, mask).last_hidden_state
        # Wan feeds exact zeros behind the end of the prompt, not the encoder's outputs at padding.
        return states * mask[..., None].to(states.dtype)

    def unknown_words(self, prompts: Sequence[str]) -> list[UnknownWords]:
        """See :meth:`VideoGenerator.unknown_words`; the tokenizer of the folder decides."""
        return unknown_words(self._part("tokenizer"), prompts)

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

    def velocity(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timesteps: Float[Tensor, " batch"],
        text: Float[Tensor, "batch tokens text_width"],
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """See :meth:`VideoGenerator.velocity`."""
        return self._part("transformer")(noisy, timesteps, text, return_dict=False)[0]

    def new_scheduler(self) -> Any:
        """See :meth:`VideoGenerator.new_scheduler`."""
        scheduler = self._part("scheduler")
        return type(scheduler).from_config(scheduler.config)

    def _part(self, name: str) -> Any:
        part = getattr(self, name)
        if part is None:
            raise RuntimeError(f"this generator was loaded without its {name}")
        return part


def _load_scheduler(source: str, revision: str | None) -> Any:
    """The scheduler class that the folder itself names."""
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    known = {cls.__name__: cls for cls in (FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler)}
    config = UniPCMultistepScheduler.load_config(source, subfolder="scheduler", revision=revision)
    name = config["_class_name"]
    if name not in known:
        raise ValueError(f"{source}: scheduler {name} is not supported; allowed: {', '.join(known)}")
    return known[name].from_config(config)
