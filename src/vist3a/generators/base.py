"""The contract of a latent video generator: an autoencoder, an encoder of texts or images, a denoiser with its sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.generators.hub_folder import HubFolder
from vist3a.generators.linear_sampler import LinearTable, linear_table
from vist3a.generators.sampler import Sampler
from vist3a.generators.word_tokenizer import UnknownWords, unknown_words
from vist3a.records import Condition
from vist3a.records.frame_size import ResizesFrames
from vist3a.runtime.memory_layout import channels_last

# Parts of every generator; "text" is what makes conditions (of SVD: of an image) and brings its tokenizer.
PARTS = ("vae", "tokenizer", "text", "denoiser")

GeneratorT = TypeVar("GeneratorT", bound="VideoGenerator")


@dataclass(frozen=True)
class TrainingPair:
    """What a denoiser is trained on: noisy normalised latents, their timesteps, and what it should answer."""

    noisy: Float[Tensor, "batch channels times rows columns"]
    timesteps: Float[Tensor, " batch"]
    target: Float[Tensor, "batch channels times rows columns"]


class VideoGenerator(ResizesFrames, nn.Module, ABC):
    """A video generator behind one contract.

    Frames are RGB in [0, 1]; latents are *raw* (as the autoencoder emits them) unless a name says ``normalised``:
    the denoiser works on normalised latents, the stitch layer on raw ones.

    Any part may be missing (``None``): the layer search needs the autoencoder only. Using a missing part is a
    ``RuntimeError`` that names it.
    """

    channels: int
    spatial_stride: int
    temporal_stride: int
    scaling_factor: float
    """Factor from raw to normalised latents, where it is one for all channels."""
    ATTRIBUTES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "vae": ("vae",),
        "tokenizer": ("tokenizer",),
        "text": ("tokenizer", "text_encoder"),
        "denoiser": ("transformer", "scheduler"),
    }
    """Attributes that hold the objects of each part of ``PARTS``, of the denoiser the network first."""
    TEXT_TOKENS: ClassVar[int]
    """Padded length of a prompt, as published."""
    takes_text: ClassVar[bool] = True
    """Whether conditions are made of texts (:meth:`embed`); else of images (:meth:`embed_images`)."""
    uses_negative: ClassVar[bool] = True
    """Whether guidance compares with the condition of a negative prompt."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[tuple[int, float | None, str], LinearTable] = {}

    @classmethod
    def from_pretrained(
        cls: type[GeneratorT],
        source: str,
        *,
        revision: str | None = None,
        variant: str | None = None,
        parts: Sequence[str] = PARTS,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        max_text_tokens: int | None = None,
    ) -> GeneratorT:
        """Frozen generator with the named parts of a folder in the hub's layout, or of a hub id.

        ``max_text_tokens`` is the padded length of a prompt; None: as published.
        """
        if unknown := sorted(set(parts) - set(PARTS)):
            raise ValueError(f"unknown parts {unknown}; allowed: {', '.join(PARTS)}")
        folder = HubFolder(source, revision, variant, dtype)
        generator = cls._load(folder, parts, max_text_tokens or cls.TEXT_TOKENS)
        return generator.requires_grad_(False).eval().to(device)

    @classmethod
    @abstractmethod
    def _load(cls: type[GeneratorT], folder: HubFolder, parts: Sequence[str], max_text_tokens: int) -> GeneratorT:
        """The generator with the named parts of ``folder``."""

    def latent_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(channels, T', h, w) of the latents; ValueError naming the allowed frame counts and sizes."""
        stride = self.temporal_stride
        if frames < 1 or (frames - 1) % stride:
            lower = max(0, (frames - 1) // stride) * stride + 1
            raise ValueError(
                f"{frames} frames: this generator takes {stride}n+1 frames (nearest: {lower} or {lower + stride})"
            )
        if height % self.spatial_multiple or width % self.spatial_multiple:
            raise ValueError(f"frames of {height}x{width} px: both sides must be multiples of {self.spatial_multiple}")
        return self.channels, (frames - 1) // stride + 1, height // self.spatial_stride, width // self.spatial_stride

    @property
    @abstractmethod
    def spatial_multiple(self) -> int:
        """Frame sides must be multiples of this many pixels (autoencoder stride times the denoiser's patch)."""

    @property
    def denoiser(self) -> Any:
        """The denoising network."""
        return self._part(self.ATTRIBUTES["denoiser"][0])

    def encode(
        self, frames: Float[Tensor, "batch views 3 height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Raw latents of frames, resized to ``input_size``: the posterior's mode, or a sample when ``generator`` is given."""
        frames = self.fit(frames)
        self.latent_grid(frames.shape[1], frames.shape[3], frames.shape[4])
        vae = self._part("vae")
        video = (frames.transpose(1, 2) * 2 - 1).to(vae.dtype)
        latents = self._encode_video(video, generator)
        return latents.to(torch.promote_types(latents.dtype, frames.dtype))

    def _encode_video(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        """Raw latents of a video [batch, 3, views, height, width] in [-1, 1] and the autoencoder's numeric type."""
        posterior = self._part("vae").encode(video, return_dict=False)[0]
        return posterior.mode() if generator is None else posterior.sample(generator)

    def decode(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch views 3 height width"]:
        """Frames of raw latents, in [0, 1]; differentiable."""
        video = self._decode_video(latents.to(self._part("vae").dtype))
        return ((video.transpose(1, 2) + 1) / 2).clamp(0, 1).to(latents.dtype)

    def _decode_video(self, latents: Tensor) -> Tensor:
        """Video [batch, 3, views, height, width], nominally in [-1, 1], of raw latents."""
        return self._part("vae").decode(latents, return_dict=False)[0]

    def normalise(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Raw latents to the space of about unit variance that the denoiser works in."""
        return latents * self.scaling_factor

    def denormalise(
        self, latents: Float[Tensor, "batch channels times rows columns"]
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Inverse of :meth:`normalise`."""
        return latents / self.scaling_factor

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Conditions of texts; ValueError for generators that take images."""
        raise ValueError(f"{type(self).__name__} takes an image, not a text: give generate.image")

    def embed_images(
        self,
        images: Float[Tensor, "batch 3 height width"],
        size: tuple[int, int],
        generators: Sequence[torch.Generator],
    ) -> Condition:
        """Conditions of first frames in [0, 1] for videos of ``size`` (height, width), one random generator per image.

        ValueError for generators that take texts.
        """
        raise ValueError(f"{type(self).__name__} takes a text, not an image: give generate.prompt")

    def unknown_words(self, prompts: Sequence[str]) -> list[UnknownWords]:
        """Prompts with words that the tokenizer cannot tell apart; an open vocabulary has none."""
        if not self.takes_text:
            return []
        return unknown_words(self._part("tokenizer"), prompts)

    def cut_prompts(self, prompts: Sequence[str]) -> list[tuple[str, int, int]]:
        """Prompts of which only the beginning is read: the prompt, its tokens, and how many are read."""
        return []

    @abstractmethod
    def prediction(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timesteps: Float[Tensor, " batch"],
        condition: Condition,
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """The denoiser's answer at (scaled) noisy normalised latents, in the parametrisation of its sampler."""

    def guided(
        self,
        noisy: Float[Tensor, "batch channels times rows columns"],
        timestep: Float[Tensor, ""] | Float[Tensor, " batch"],
        condition: Condition,
        negative: Condition | None,
        guidance: float,
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """The prediction under guidance, here classifier-free: both conditions in one forward pass.

        ``timestep`` is that of all samples, or one for each. Guidance 1 means the conditional prediction alone.
        """
        compared = self._compared(condition, negative, guidance, len(noisy))
        return self._combined(noisy, timestep, compared, guidance, self.prediction)

    @contextmanager
    def denoising(
        self, condition: Condition, negative: Condition | None, guidance: float, batch: int
    ) -> Iterator[Callable[[Tensor, Tensor], Tensor]]:
        """Gives :meth:`guided` as a function of (noisy, timestep), for many steps at one condition and without a graph.

        What depends on the condition alone is computed once.
        """
        compared = self._compared(condition, negative, guidance, batch)
        yield lambda noisy, timestep: self._combined(noisy, timestep, compared, guidance, self.prediction)

    def _compared(self, condition: Condition, negative: Condition | None, guidance: float, batch: int) -> Condition:
        """All conditions that one guided prediction of ``batch`` samples needs, those with the prompt first."""
        if guidance == 1.0:
            return condition
        if negative is None:
            raise ValueError(
                f"guidance {guidance} needs the condition of a negative prompt; without one only 1 is allowed"
            )
        return Condition.cat([condition, negative.rows(batch)])

    def _combined(
        self,
        noisy: Tensor,
        timestep: Tensor,
        compared: Condition,
        guidance: float,
        predict: Callable[[Tensor, Tensor, Condition], Tensor],
    ) -> Tensor:
        """One forward pass over all ``compared`` conditions, and their combination."""
        times = len(compared) // len(noisy)
        answers = predict(noisy.repeat(times, 1, 1, 1, 1), timestep.expand(len(noisy)).repeat(times), compared)
        if times == 1:
            return answers
        with_it, without = answers.chunk(2)
        return without + self._guidance_weight(guidance, noisy) * (with_it - without)

    def _guidance_weight(self, guidance: float, noisy: Tensor) -> float | Tensor:
        """Strength of guidance, possibly per frame."""
        return guidance

    def sampler(self, steps: int, device: torch.device | str = "cpu", flow_shift: float | None = None) -> Sampler:
        """A fresh sampler of ``steps`` steps; ``flow_shift`` replaces the shift that the generator came with."""
        return Sampler(self._part("scheduler"), steps, device, flow_shift)

    def linear_table(self, steps: int, flow_shift: float | None = None) -> LinearTable:
        """What :meth:`sampler` does, as weights (see :class:`LinearTable`); computed once per setting."""
        key = (steps, flow_shift, str(sorted(self._part("scheduler").config.items(), key=str)))
        if key not in self._tables:
            self._tables[key] = linear_table(lambda: self.sampler(steps, flow_shift=flow_shift))
        return self._tables[key]

    @abstractmethod
    def training_pair(
        self,
        clean: Float[Tensor, "batch channels times rows columns"],
        noise: Float[Tensor, "batch channels times rows columns"],
        level: Float[Tensor, " batch"],
    ) -> TrainingPair:
        """Normalised latents noised at ``level`` (0: clean, 1: the sampler's first step) and the right answer."""

    def save_memory(self) -> None:
        """Encode and decode in tiles (another result at their borders) and clip by clip, for small GPUs."""
        vae = self._part("vae")
        for setting in ("enable_tiling", "enable_slicing"):
            if hasattr(vae, setting):
                getattr(vae, setting)()

    def checkpoint_gradients(self, denoiser: bool = True) -> None:
        """Keep little for backward passes and run the video decoder's blocks again, and the denoiser's unless it is left out.

        Less memory, more time.
        """
        for part in ("denoiser", "vae") if denoiser else ("vae",):
            network: Any = getattr(self, self.ATTRIBUTES[part][0])
            if getattr(network, "_supports_gradient_checkpointing", False):
                network.enable_gradient_checkpointing()

    def stream_denoiser(self, device: torch.device) -> None:
        """Keep the denoiser in host memory and bring its blocks to ``device`` one after the other while it runs."""
        self.denoiser.to("cpu")
        self.denoiser.enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.type == "cuda",
        )

    def accelerate(self, mode: str | None = None) -> None:
        """Trade a wait at the first call for speed: for inference only (see ``merge_lora`` for adapters).

        The repeated blocks of the denoiser are compiled, one for all (``mode`` is that of ``torch.compile``; a denoiser without
        such blocks is compiled whole), and the autoencoder's weights laid out for tensor cores. Results change by rounding only.
        """
        self._compile(mode, None)

    def compile_for_training(self) -> None:
        """The part of :meth:`accelerate` that leaves adapters in place and lets gradients through; code per batch size."""
        self._compile(None, False)

    def _compile(self, mode: str | None, dynamic: bool | None) -> None:
        if self._has("denoiser") and getattr(self.denoiser, "_repeated_blocks", None):
            self.denoiser.compile_repeated_blocks(fullgraph=True, mode=mode, dynamic=dynamic)
        elif self._has("denoiser"):
            self.denoiser.compile(mode=mode, dynamic=dynamic)
        if self._has("vae"):
            channels_last(self._part("vae"))

    def release(self, *parts: str) -> None:
        """Forget these parts, so that their memory can be used by others."""
        for part in parts:
            for name in self.ATTRIBUTES[part]:
                setattr(self, name, None)

    def place(self, part: str, device: torch.device | str) -> None:
        """Move the networks of one part to a device."""
        for name in self.ATTRIBUTES[part]:
            if isinstance(module := getattr(self, name), nn.Module):
                module.to(device)

    def _has(self, part: str) -> bool:
        return getattr(self, self.ATTRIBUTES[part][0]) is not None

    def _part(self, name: str) -> Any:
        part = getattr(self, name)
        if part is None:
            raise RuntimeError(f"this generator was loaded without its {name}")
        return part


def flow_matching_pair(clean: Tensor, noise: Tensor, level: Tensor) -> TrainingPair:
    """Straight path from clean to noise; the answer is its velocity, noise minus clean; a timestep is 1000 times the level."""
    sigma = level.view(-1, 1, 1, 1, 1)
    return TrainingPair((1 - sigma) * clean + sigma * noise, 1000 * level, noise - clean)
