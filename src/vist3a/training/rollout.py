"""Sampling from the generator, without a graph, keeping what the reward gradient needs.

Inputs of the denoiser are treated as constants (DRTune), so the final latents are linear in the predictions of the steps:
z0 = sum_k c_k v_k + const, with scalars c_k given by the scheduler. :func:`prediction_coefficients` obtains them exactly by
running the scheduler itself on a basis, which works for every scheduler that is linear in the model output (Euler,
UniPC, DDIM, DPM, ...), whatever the output means: velocity, v or noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.models.generators.base import VideoGenerator
from vist3a.records import Condition


@dataclass(frozen=True)
class Rollout:
    """Final normalised latents and the (detached) inputs of the denoiser at the kept steps."""

    latents: Float[Tensor, "batch channels times rows columns"]
    inputs: dict[int, Float[Tensor, "batch channels times rows columns"]]
    timesteps: Float[Tensor, " steps"]
    coefficients: Float[Tensor, " steps"]


def prompt_generator(prompt: str, seed: int) -> torch.Generator:
    """Randomness that depends on (prompt, seed) only, never on batch or device."""
    digest = hashlib.blake2b(f"{seed}/{prompt}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def prompt_noise(
    prompt: str, seed: int, shape: Sequence[int], device: torch.device | str = "cpu"
) -> Float[Tensor, "1 channels times rows columns"]:
    """Starting noise of one prompt."""
    return torch.randn(1, *shape, generator=prompt_generator(prompt, seed)).to(device)


def step_generators(prompts: Sequence[str], seed: int) -> list[torch.Generator]:
    """What stochastic samplers draw from, one per prompt, apart from the starting noise."""
    return [prompt_generator(f"steps/{prompt}", seed) for prompt in prompts]


def prediction_coefficients(
    generator: VideoGenerator, steps: int, flow_shift: float | None = None
) -> Float[Tensor, " steps"]:
    """dz0/dv_k for every step k, float64; ValueError for a scheduler that is not linear in the model output.

    All rows share the noise of stochastic schedulers. The row before the last has no predictions: it gives the constant. The
    last one mixes all predictions: a linear scheduler makes the same mixture of its results.
    """
    sampler = generator.sampler(steps, flow_shift=flow_shift)
    mixture = torch.arange(steps, dtype=torch.float64).cos() * 3
    rows = torch.cat([torch.eye(steps, dtype=torch.float64), torch.zeros(1, steps).double(), mixture[None]])
    z = torch.zeros(steps + 2, 1, 1, 1, 1, dtype=torch.float64)
    generators = [torch.Generator().manual_seed(0) for _ in rows]
    for k in range(steps):
        sampler.model_input(z, k)  # some schedulers insist on being asked
        z = sampler.step(rows[:, k].view(-1, 1, 1, 1, 1), k, z, generators).double()
    *results, constant, mixed = z.flatten()
    coefficients = torch.stack(results) - constant
    if not torch.allclose(mixed - constant, mixture @ coefficients, rtol=1e-4, atol=1e-4):
        raise ValueError(
            f"{type(sampler.scheduler).__name__}: its result is not linear in the predictions as it is configured, so the reward "
            "gradient would be wrong; allowed: schedulers without thresholding or clipping"
        )
    return coefficients


@torch.no_grad()
def rollout(
    generator: VideoGenerator,
    noise: Float[Tensor, "batch channels times rows columns"],
    condition: Condition,
    negative: Condition | None,
    *,
    steps: int,
    guidance: float,
    keep: Sequence[int] = (),
    flow_shift: float | None = None,
    generators: Sequence[torch.Generator] | None = None,
) -> Rollout:
    """Integrate from noise to latents in ``steps`` steps, keeping the inputs of the steps in ``keep``.

    ``generators``: one per sample (see :func:`step_generators`), for stochastic samplers.
    """
    sampler = generator.sampler(steps, noise.device, flow_shift)
    z, inputs = sampler.start(noise), {}
    for k in range(steps):
        seen = sampler.model_input(z, k)
        if k in keep:
            inputs[k] = seen
        prediction = generator.guided(seen, sampler.timesteps[k].float(), condition, negative, guidance)
        z = sampler.step(prediction, k, z, generators).to(noise.dtype)
    coefficients = prediction_coefficients(generator, steps, flow_shift) if keep else torch.zeros(steps)
    return Rollout(z, inputs, sampler.timesteps.float(), coefficients)
