"""Whether a video generator keeps the contract: one call, on small random networks, in seconds.

Example:
    >>> def published(generator, request):  # what diffusers' own pipeline makes of the same networks
    ...     pipeline = LTXPipeline(**{name: getattr(generator, name) for name in PARTS})
    ...     return pipeline(latents=request.noise, prompt_embeds=request.condition["text"], ...)
    >>> check_generator(make_small_one, published)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.records.frame_count import at_least
from vist3a.sampling.rollout import rollout

PROMPTS = ("a red ball on the floor", "the green cube")
"""Two texts that differ in their words and in their length."""


@dataclass(frozen=True)
class Request:
    """What the public pipeline is asked for, of one sample.

    ``noise`` is in the layout of the contract. Of generators of texts ``condition`` and ``negative`` are what ``embed`` made of
    the prompt and of the empty text (None where guidance does not compare with one); others get the ``picture`` in [0, 1], of
    values that 8 bits hold, and ``seed``: what the random generator is seeded with. ``output`` "latent": normalised latents
    [1, channels, times, rows, columns]; "pt": frames [1, views, 3, height, width] in [0, 1].
    """

    noise: Float[Tensor, "1 channels times rows columns"]
    condition: Condition
    negative: Condition | None
    picture: Float[Tensor, "1 3 height width"] | None
    frames: int
    height: int
    width: int
    steps: int
    guidance: float
    seed: int
    output: Literal["latent", "pt"] = "latent"


Published = Callable[[VideoGenerator, Request], Tensor]
"""Calls the public pipeline of a generator's own networks."""
Encoder = Callable[[VideoGenerator, Tensor], Tensor]
"""Raw latents that the public autoencoder makes of a video [batch, 3, views, height, width] in [-1, 1]."""


def public_encoder(generator: VideoGenerator, video: Tensor) -> Tensor:
    """The mode of the posterior of an autoencoder that is called as the video ones of diffusers are."""
    vae = generator._part("vae")
    latents: Tensor = vae.encode(video, return_dict=False)[0].mode()
    return latents


@dataclass(frozen=True)
class GeneratorCase:
    """A generator and what it is tried on; the checks share it and leave it as it was."""

    make: Callable[[], VideoGenerator]
    published: Published | None = None
    encoder: Encoder = public_encoder
    size: tuple[int, int] | None = None
    prompts: tuple[str, str] = PROMPTS
    steps: int = 4
    guidance: float = 4.0
    tolerance: float = 1e-5
    seed: int = 11
    saves: bool = True

    @cached_property
    def generator(self) -> VideoGenerator:
        """The generator of most checks."""
        return self.fresh()

    def fresh(self) -> VideoGenerator:
        """Another one, for checks that change it."""
        return self.make().requires_grad_(False).eval()

    @property
    def height_width(self) -> tuple[int, int]:
        """Size of the frames: not square, so that rows and columns cannot be mistaken for each other."""
        multiple = self.generator.spatial_multiple
        return self.size or (2 * multiple, 3 * multiple)

    def frame_counts(self, count: int) -> list[int]:
        """The smallest allowed numbers of frames above 1."""
        found = [at_least(self.generator.allowed_frames, 2)]
        while len(found) < count:
            found.append(at_least(self.generator.allowed_frames, found[-1] + 1))
        return found

    @property
    def frames(self) -> int:
        """Frames of most checks: several latent frames."""
        return next(n for n in self.frame_counts(4) if self.shape(n)[1] > 2)

    def shape(self, frames: int) -> tuple[int, int, int, int]:
        """Of the latents of one sample."""
        return self.generator.latent_grid(frames, *self.height_width)

    def noise(self, count: int = 1, frames: int | None = None) -> Tensor:
        """Starting noise of so many samples."""
        drawn = torch.Generator().manual_seed(3)
        return torch.randn(count, *self.shape(frames or self.frames), generator=drawn)

    def clip(self, frames: int, count: int = 1) -> Tensor:
        """Frames in [0, 1]."""
        return torch.rand(count, frames, 3, *self.height_width, generator=torch.Generator().manual_seed(7))

    def pictures(self, count: int = 2) -> Tensor:
        """First frames, of values that 8 bits hold."""
        drawn = torch.Generator().manual_seed(5)
        return torch.randint(0, 256, (count, 3, *self.height_width), generator=drawn) / 255

    def generators(self, rows: Sequence[int]) -> list[torch.Generator]:
        """What each sample's own noise comes from."""
        return [torch.Generator().manual_seed(self.seed + row) for row in rows]

    @torch.no_grad()
    def condition(self, rows: Sequence[int] = (0,)) -> Condition:
        """Conditions of the prompts, or pictures, of these numbers."""
        if self.generator.takes_text:
            return self.generator.embed([self.prompts[row] for row in rows])
        return self.generator.embed_images(self.pictures()[list(rows)], self.height_width, self.generators(rows))

    @torch.no_grad()
    def negative(self, text: str = "") -> Condition | None:
        """What guidance compares with."""
        return self.generator.embed([text]) if self.generator.uses_negative else None

    def sample(
        self,
        noise: Tensor,
        condition: Condition,
        rows: Sequence[int] = (0,),
        guidance: float | None = None,
        negative: Condition | None = None,
    ) -> Tensor:
        """Normalised latents after all steps, as every stage makes them."""
        return rollout(
            self.generator,
            noise,
            condition,
            negative or self.negative(),
            steps=self.steps,
            guidance=self.guidance if guidance is None else guidance,
            generators=self.generators(rows),
        ).latents

    def request(self, guidance: float, frames: int) -> Request:
        """The first sample, as the public pipeline is asked for it."""
        height, width = self.height_width
        return Request(
            self.noise(1, frames),
            self.condition(),
            self.negative(),
            None if self.generator.takes_text else self.pictures()[:1],
            frames,
            height,
            width,
            self.steps,
            guidance,
            self.seed,
        )


def check_generator(
    make: Callable[[], VideoGenerator],
    published: Published | None = None,
    *,
    encoder: Encoder = public_encoder,
    size: tuple[int, int] | None = None,
    prompts: tuple[str, str] = PROMPTS,
    steps: int = 4,
    guidance: float = 4.0,
    tolerance: float = 1e-5,
    saves: bool = True,
) -> None:
    """Try everything that the other stages rely on.

    Args:
        make: A new generator at each call, always the same, with all parts, in float32 on the CPU; small random networks do.
        published: What the public pipeline makes of the same networks (see :class:`Request`); None: it is not compared, and
            then neither the denoising nor the normalisation has been seen to be right.
        encoder: Raw latents of the public autoencoder.
        size: Height and width of the frames; by default 2 and 3 times what the sides must be multiples of.
        prompts: Two texts with different words and lengths, that the tokenizer knows.
        steps: Denoising steps.
        guidance: Strength of guidance, not 1.
        tolerance: Difference to the public pipeline that is rounding, relative to the largest value.
        saves: Whether the parts can be saved and loaded as folders in the hub's layout (parts of the public libraries can).

    Raises:
        AssertionError: One sentence: what is not kept, what was found and what is wanted.
    """
    from vist3a.testing.generator_checks import CHECKS

    case = GeneratorCase(make, published, encoder, size, prompts, steps, guidance, tolerance, saves=saves)
    # Checks seed the global generator, which the caller gets back as it was.
    with torch.random.fork_rng(devices=[]):
        for check in CHECKS:
            try:
                check(case)
            except AssertionError:
                raise
            except Exception as error:
                found = " ".join(str(error).split())
                what = (check.__doc__ or check.__name__).split("\n")[0].rstrip(".")
                raise AssertionError(f"{what}: this ended in {type(error).__name__}: {found}") from error
