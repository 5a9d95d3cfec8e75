"""A generator of a few small layers, right in all that the kit checks, and a pipeline of it that was written apart."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.testing.generators import Request

MEAN, SCALE = 0.3, 0.6


class ToyPosterior:
    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, generator: torch.Generator) -> Tensor:
        return self.mean + 0.1 * torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype)


class ToyAutoencoder(nn.Module):
    """3n+1 frames, stride 2 in space, four channels."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(3, 4, (3, 2, 2), (3, 2, 2))
        self.up = nn.ConvTranspose3d(4, 3, (3, 2, 2), (3, 2, 2))

    @property
    def dtype(self) -> torch.dtype:
        return self.down.weight.dtype

    def encode(self, video: Tensor, return_dict: bool = True) -> tuple[ToyPosterior]:
        return (ToyPosterior(self.down(torch.cat([video[:, :, :1], video[:, :, :1], video], dim=2))),)

    def decode(self, latents: Tensor, return_dict: bool = True) -> tuple[Tensor]:
        return (0.9 * torch.tanh(self.up(latents))[:, :, 2:],)


class ToyDenoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(patch_size=(1, 1, 1))
        self.mix, self.text, self.style = nn.Conv3d(4, 4, 3, padding=1), nn.Linear(8, 4), nn.Linear(2, 4)

    def forward(self, noisy: Tensor, time: Tensor, text: Tensor, style: Tensor) -> Tensor:
        told = torch.tanh(self.text(text).mean(1)) + self.style(style)
        return torch.sin(self.mix(noisy)) + (told * (1 + time[:, None] / 1000))[..., None, None, None]


class ToyGenerator(VideoGenerator):
    """What is right; broken ones differ in one method."""

    TEXT_TOKENS = 3
    temporal_stride = 3

    def __init__(self, max_text_tokens: int | None = None, **parts: Any) -> None:
        super().__init__(max_text_tokens, **parts)
        self.channels, self.spatial_stride = 4, 2

    def normalise(self, latents: Tensor) -> Tensor:
        return (latents - MEAN) * SCALE

    def denormalise(self, latents: Tensor) -> Tensor:
        return latents / SCALE + MEAN

    def embed(self, prompts: Sequence[str]) -> Condition:
        rows = [torch.randn(3, 8, generator=torch.Generator().manual_seed(zlib.crc32(p.encode()))) for p in prompts]
        return Condition({"text": torch.stack(rows), "style": torch.tensor([[len(p) % 7, 1.0] for p in prompts])})

    def prediction(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        return self.denoiser(noisy, timesteps, condition["text"], condition["style"])

    def noise_levels(self, steps: int) -> list[float]:
        return [1 - k / steps for k in range(steps)]


def make(kind: type[ToyGenerator] = ToyGenerator) -> ToyGenerator:
    from diffusers import FlowMatchEulerDiscreteScheduler

    torch.manual_seed(0)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_image_seq_len=8, max_image_seq_len=64)
    return kind(vae=ToyAutoencoder(), transformer=ToyDenoiser(), text_encoder=nn.Identity(), scheduler=scheduler)


def published(generator: VideoGenerator, request: Request) -> Tensor:
    """Euler steps in plain numbers."""
    levels = np.linspace(1, 1 / request.steps, request.steps)
    tokens = np.prod(request.noise.shape[2:])
    mu = 0.5 + (tokens - 8) * (1.15 - 0.5) / (64 - 8)
    levels = np.exp(mu) / (np.exp(mu) + (1 / levels - 1))
    z, network = request.noise, generator.transformer
    for level, lower in zip(levels, [*levels[1:], 0.0], strict=True):
        time = torch.tensor([1000 * level], dtype=torch.float32)
        answer = network(z, time, request.condition["text"], request.condition["style"])
        if request.guidance != 1:
            assert request.negative is not None
            without = network(z, time, request.negative["text"], request.negative["style"])
            answer = without + request.guidance * (answer - without)
        z = z + float(lower - level) * answer
    if request.output == "latent":
        return z
    video = generator.vae.decode(z / SCALE + MEAN)[0]
    return ((video + 1) / 2).transpose(1, 2)
