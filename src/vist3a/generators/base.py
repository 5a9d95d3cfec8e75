"""The contract of a latent video generator: an autoencoder, an encoder of texts or images, a denoiser with its sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.linear_sampler import LinearTable, linear_table
from vist3a.generators.network_parts import NetworkParts
from vist3a.generators.sampler import Sampler, time_shift
from vist3a.generators.step_length import StepLengths
from vist3a.generators.word_tokenizer import UnknownWords, read_as, unknown_words, vocabulary
from vist3a.records import Condition
from vist3a.records.frame_count import causal_frames, check_frames
from vist3a.records.frame_size import ResizesFrames

LatentShape = Sequence[int]
"""(channels, times, rows, columns) of the latents of one sample."""


@dataclass(frozen=True)
class TrainingPair:
    """What a denoiser is trained on: noisy normalised latents, their timesteps, and what it should answer."""

    noisy: Float[Tensor, "batch channels times rows columns"]
    timesteps: Float[Tensor, " batch"]
    target: Float[Tensor, "batch channels times rows columns"]


class VideoGenerator(StepLengths, ResizesFrames, NetworkParts, ABC):
    """A video generator behind one contract.

    Frames are RGB in [0, 1]; latents are *raw* (as the autoencoder emits them) unless a name says ``normalised``:
    the denoiser works on normalised latents, the stitch layer on raw ones.

    Any part may be missing (``None``): the layer search needs the autoencoder only. Using a missing part is a
    ``RuntimeError`` that names it.

    **A generator of your own** is a class of a module of your own; nothing here has to be edited. It needs

    1. ``CLASSES``, the classes that its networks are loaded with, and ``ATTRIBUTES`` and ``PIPELINE`` where the usual ones do not
       fit;
    2. ``temporal_stride`` on the class, as published, and a constructor (the parts as keywords) that sets ``channels``,
       ``temporal_stride``, ``spatial_stride`` and ``scaling_factor`` from the autoencoder, where there is one;
    3. :meth:`prediction`;
    4. :meth:`embed` for texts, or ``takes_text = False`` and :meth:`embed_images`; ``uses_negative = False`` and
       :meth:`_compared` where guidance is not the difference to a negative prompt.

    ``published`` states the sizes of the public weights, so that a rehearsal can say before a download what they will take.
    Everything else has a default that is to be replaced where it is not yours:

    ===============================================  ==============================================================
    :meth:`allowed_frames`                           1, 1 + temporal_stride, 1 + 2 temporal_stride, ...
    :meth:`normalise`, :meth:`denormalise`           one ``scaling_factor``
    :meth:`_encode_video`, :meth:`_decode_video`     an autoencoder that is called as diffusers' video ones are
    :attr:`spatial_multiple`                         spatial stride times the denoiser's patch
    :meth:`noise_levels`, :meth:`sampler`            as the scheduler spaces them; shifted by the number of tokens if it
                                                     says ``use_dynamic_shifting``
    :meth:`training_pair`                            flow matching: the answer is noise minus clean latents
    ``TIME_EMBEDDER``                                none: it cannot be shortened (:mod:`vist3a.shortening`)
    :meth:`save_memory` and the like                 what diffusers' networks can do
    ===============================================  ==============================================================

    ``vist3a.testing.generators.check_generator`` says whether it is right. It is used by its place, or by the name of an entry
    point: see :mod:`vist3a.registry`, and ``examples/ltx_video`` for a whole one.
    """

    channels: int
    spatial_stride: int
    """Pixels per latent cell on a side."""
    temporal_stride: int
    """Frames per latent frame; the first frame is encoded alone. 1: every frame has its own latents."""
    scaling_factor: float
    """Factor from raw to normalised latents, where it is one for all channels."""
    PIPELINE: ClassVar[str] = ""
    """Name of the diffusers pipeline whose ``encode_prompt`` makes conditions of texts (see :meth:`text_pipeline`)."""
    takes_text: ClassVar[bool] = True
    """Whether conditions are made of texts (:meth:`embed`); else of images (:meth:`embed_images`)."""
    uses_negative: ClassVar[bool] = True
    """Whether guidance compares with the condition of a negative prompt."""

    def __init__(self, max_text_tokens: int | None = None, **parts: Any) -> None:
        super().__init__(max_text_tokens, **parts)
        self._tables: dict[tuple[int, tuple[int, ...], float | None, str], LinearTable] = {}

    def allowed_frames(self, frames: int) -> int:
        """The allowed number of frames nearest to ``frames`` (of two the smaller), which is itself where it is allowed.

        A generator without any part is asked, too, so that a wrong number is refused before anything is loaded.

        Example:
            >>> generator.temporal_stride, generator.allowed_frames(13), generator.allowed_frames(14)
            (4, 13, 13)
        """
        return causal_frames(self.temporal_stride)(frames)

    def latent_grid(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(channels, T', h, w) of the latents; ValueError naming the allowed frame counts and sizes."""
        check_frames(self.allowed_frames, frames)
        multiple, stride = self.spatial_multiple, self.spatial_stride
        if height % multiple or width % multiple:
            raise ValueError(f"frames of {height}x{width} px: both sides must be multiples of {multiple}")
        return self.channels, (frames - 1) // self.temporal_stride + 1, height // stride, width // stride

    @property
    def spatial_multiple(self) -> int:
        """Frame sides must be multiples of this many pixels: autoencoder stride times the denoiser's patch (1 without one)."""
        return self.spatial_stride * self._patch()[1]

    def _patch(self) -> tuple[int, int]:
        """Latent frames, and latent rows or columns, of one token of the denoiser."""
        config = self.denoiser.config if self._has("denoiser") else None
        # Wan has one entry (time, rows, columns); others have ``patch_size`` and perhaps ``patch_size_t``.
        patch = getattr(config, "patch_size", 1)
        if isinstance(patch, Sequence):
            return int(patch[0]), int(patch[-1])
        return int(getattr(config, "patch_size_t", None) or 1), int(patch)

    def encode(
        self, frames: Float[Tensor, "batch views 3 height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Raw latents of frames, resized to ``input_size``: the posterior's mode, or a sample when ``generator`` is given."""
        frames = self.fit(frames)
        self.latent_grid(frames.shape[1], frames.shape[3], frames.shape[4])
        vae = self._part("vae")
        # Autoencoders have channels before time, and pixels in [-1, 1].
        video = (frames.transpose(1, 2) * 2 - 1).to(vae.dtype)
        latents = self._encode_video(video, generator)
        # Never narrower than the frames, should the autoencoder be of half precision.
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

    def decode_gradient(
        self,
        latents: Float[Tensor, "batch channels times rows columns"],
        at_frames: Float[Tensor, "batch views 3 height width"],
    ) -> Float[Tensor, "batch channels times rows columns"]:
        """Gradient at raw latents of what has the gradient ``at_frames`` at :meth:`decode` of them: a vector-Jacobian product.

        It decodes once more, with a graph, which is gone on return.

        Example:
            >>> frames = generator.decode(latents).requires_grad_()
            >>> (at_frames,) = torch.autograd.grad(score(frames), frames)
            >>> at_latents = generator.decode_gradient(latents, at_frames)
        """
        with torch.enable_grad():
            given = latents.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.decode(given), given, at_frames)
        return gradient

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

    def text_pipeline(self) -> Any:
        """The public pipeline of the tokenizers and text encoders alone, for its ``encode_prompt``."""
        import diffusers

        pipeline_class = getattr(diffusers, self.PIPELINE)
        # ``encode_prompt`` needs the text parts only; pipelines take None for all others.
        others = {name: None for names in self.ATTRIBUTES.values() for name in names}
        # Tokenizers come first in the list, but what is missed by name is the encoder.
        return pipeline_class(**others | {name: self._part(name) for name in reversed(self.ATTRIBUTES["text"])})

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
        # Words are looked up in what is read; the caller hears of the prompt as it was written.
        read = {prompt: text for prompt, (text, _) in zip(prompts, self.read_as(prompts), strict=True)}
        # Several prompts may be read alike: each text is looked up once, each prompt is named.
        found = {
            entry.prompt: entry for entry in unknown_words(self._part("tokenizer"), list(dict.fromkeys(read.values())))
        }
        return [replace(found[text], prompt=prompt) for prompt, text in read.items() if text in found]

    def read_as(self, prompts: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
        """Prompts as a closed vocabulary reads them, and which words are read as which; an open one reads what is there."""
        known = vocabulary(self._part("tokenizer")) if self.takes_text else None
        return [(prompt, {}) if known is None else read_as(prompt, known) for prompt in prompts]

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
        # The samples repeat for every set of conditions, in the order of ``_compared``: with the prompt first.
        times = len(compared) // len(noisy)
        answers = predict(noisy.repeat(times, 1, 1, 1, 1), timestep.expand(len(noisy)).repeat(times), compared)
        if times == 1:
            return answers
        with_it, without = answers.chunk(2)
        # Classifier-free guidance (Ho and Salimans, 2022), written so that 1 is the conditional answer alone.
        return without + self._guidance_weight(guidance, noisy) * (with_it - without)

    def _guidance_weight(self, guidance: float, noisy: Tensor) -> float | Tensor:
        """Strength of guidance, possibly per frame."""
        return guidance

    def noise_levels(self, steps: int) -> Sequence[float] | None:
        """Noise levels before the shift, from 1 down, without the last one; None: as the scheduler spaces them."""
        return None

    def sequence_length(self, shape: LatentShape) -> int:
        """Tokens of the denoiser for latents of this shape."""
        patch_t, patch = self._patch()
        return shape[1] // patch_t * (shape[2] // patch) * (shape[3] // patch)

    def sampler(
        self, steps: int, shape: LatentShape, device: torch.device | str = "cpu", flow_shift: float | None = None
    ) -> Sampler:
        """A fresh sampler of ``steps`` steps for latents of ``shape``.

        ``flow_shift`` replaces the shift that the generator came with, be it a number or one that follows from the shape.
        """
        scheduler = self._part("scheduler")
        dynamic = bool(scheduler.config.get("use_dynamic_shifting")) and flow_shift is None
        mu = time_shift(scheduler, self.sequence_length(shape)) if dynamic else None
        return Sampler(scheduler, steps, device, flow_shift, self.noise_levels(steps), mu)

    def linear_table(self, steps: int, shape: LatentShape, flow_shift: float | None = None) -> LinearTable:
        """What :meth:`sampler` does, as weights (see :class:`LinearTable`); computed once per setting."""
        # The configuration belongs to the key: another scheduler, or another shift, is another table.
        key = (steps, tuple(shape), flow_shift, str(sorted(self._part("scheduler").config.items(), key=str)))
        if key not in self._tables:
            self._tables[key] = linear_table(lambda: self.sampler(steps, shape, flow_shift=flow_shift))
        return self._tables[key]

    def training_pair(
        self,
        clean: Float[Tensor, "batch channels times rows columns"],
        noise: Float[Tensor, "batch channels times rows columns"],
        level: Float[Tensor, " batch"],
    ) -> TrainingPair:
        """Normalised latents noised at ``level`` (0: clean, 1: the sampler's first step) and the right answer."""
        return flow_matching_pair(clean, noise, level)


def flow_matching_pair(clean: Tensor, noise: Tensor, level: Tensor) -> TrainingPair:
    """Straight path from clean to noise; the answer is its velocity, noise minus clean; a timestep is 1000 times the level."""
    sigma = level.view(-1, 1, 1, 1, 1)
    return TrainingPair((1 - sigma) * clean + sigma * noise, 1000 * level, noise - clean)
