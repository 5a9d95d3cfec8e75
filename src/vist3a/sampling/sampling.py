"""Prompts to scenes: rollout, video decode, stitched decode. A prompt's noise depends on (prompt, seed) only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition, Reconstruction
from vist3a.records.clip_shape import ClipShape
from vist3a.records.condition import Embed
from vist3a.runtime.bounds import Guidance, Positive, PositiveFloat
from vist3a.sampling.rollout import prompt_noise, rollout, step_generators
from vist3a.stitching.base import Decoder


@dataclass(frozen=True)
class GeneratedScene:
    """What one prompt became: frames of the video decoder, as the 3D network sees them, in [0, 1], and the 3D."""

    prompt: str
    latents: Float[Tensor, "1 channels times rows columns"]
    frames: Float[Tensor, "1 views 3 height width"]
    scene: Reconstruction


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig:
    """How noise becomes latents.

    Attributes:
        steps: Denoising steps.
        guidance: Classifier-free guidance, 1 for none.
    """

    steps: Positive
    guidance: Guidance


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(DenoisingConfig, ClipShape):
    """How latents are sampled, and for clips of which size.

    Attributes:
        flow_shift: Time shift of flow-matching schedules; None: the generator's own.

    Example:
        >>> SamplingConfig(steps=20, guidance=3.0, frames=13, height=64, width=64)
        SamplingConfig(frames=13, height=64, width=64, steps=20, guidance=3.0, flow_shift=None)
    """

    flow_shift: PositiveFloat | None = None


@torch.no_grad()
def sample_latents(
    generator: VideoGenerator,
    embed: Embed,
    prompts: Sequence[str],
    config: SamplingConfig,
    seed: int,
    device: torch.device,
    negative: Condition | None = None,
    batch: int = 1,
    after_step: Callable[[], None] = lambda: None,
) -> list[Float[Tensor, "1 channels times rows columns"]]:
    """Raw latents per prompt (or whatever else ``embed`` knows).

    ``negative`` is what guidance compares with; None: the empty text, where the generator compares at all. ``batch`` prompts
    share a rollout, which changes nothing but rounding; 1 gives equal bits. ``after_step`` is called after every denoising step.
    """
    shape = generator.latent_grid(config.frames, config.height, config.width)
    if negative is None and generator.uses_negative:
        negative = embed([""])
    latents = []
    for start in range(0, len(prompts), batch):
        block = list(prompts[start : start + batch])
        noise = torch.cat([prompt_noise(prompt, seed, shape, device) for prompt in block])
        path = rollout(
            generator,
            noise,
            embed(block),
            negative,
            steps=config.steps,
            guidance=config.guidance,
            flow_shift=config.flow_shift,
            generators=step_generators(block, [seed] * len(block)),
            after_step=after_step,
        )
        # The denoiser's latents are normalized, decoders take raw ones.
        latents += list(generator.denormalise(path.latents).split(1))
    return latents


@torch.no_grad()
def decode_scene(generator: VideoGenerator, decoder: Decoder, prompt: str, latents: Tensor) -> GeneratedScene:
    """Frames and 3D of raw latents of one prompt."""
    frames = decoder.network.fit(generator.decode(latents))
    scene = decoder(latents, (frames.shape[-2], frames.shape[-1]), rgb=frames)
    return GeneratedScene(prompt, latents, frames, scene)
