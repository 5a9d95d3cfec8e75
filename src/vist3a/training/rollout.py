"""Sampling from the generator, without a graph, keeping what the reward gradient needs.

Inputs of the denoiser are treated as constants (DRTune), so the final latents are linear in the velocities of the steps:
z0 = sum_k c_k v_k + const, with scalars c_k given by the scheduler. :func:`velocity_coefficients` obtains them exactly by
running the scheduler itself on a basis, which works for every scheduler that is linear in the model output (Euler,
UniPC, ...).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.models.generators.base import VideoGenerator


@dataclass(frozen=True)
class Rollout:
    """Final normalised latents and the (detached) inputs of the kept steps."""

    latents: Float[Tensor, "batch channels times rows columns"]
    inputs: dict[int, Float[Tensor, "batch channels times rows columns"]]
    timesteps: Float[Tensor, " steps"]
    coefficients: Float[Tensor, " steps"]


def prompt_noise(
    prompt: str, seed: int, shape: Sequence[int], device: torch.device | str = "cpu"
) -> Float[Tensor, "1 channels times rows columns"]:
    """Starting noise that depends on (prompt, seed) only, never on batch or device."""
    digest = hashlib.blake2b(f"{seed}/{prompt}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return torch.randn(1, *shape, generator=generator).to(device)


def guided_velocity(
    generator: VideoGenerator,
    noisy: Float[Tensor, "batch channels times rows columns"],
    timestep: Float[Tensor, ""],
    text: Float[Tensor, "batch tokens width"],
    empty: Float[Tensor, "1 tokens width"],
    guidance: float,
) -> Float[Tensor, "batch channels times rows columns"]:
    """Classifier-free guidance in one forward pass; guidance 1 means the conditional velocity alone."""
    batch = len(noisy)
    if guidance == 1.0:
        return generator.velocity(noisy, timestep.expand(batch), text)
    both = torch.cat([text, empty.expand(batch, -1, -1)])
    conditional, unconditional = generator.velocity(
        noisy.repeat(2, 1, 1, 1, 1), timestep.expand(2 * batch), both
    ).chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def velocity_coefficients(generator: VideoGenerator, steps: int) -> Float[Tensor, " steps"]:
    """dz0/dv_k for every step k, float64."""
    scheduler = generator.new_scheduler()
    scheduler.set_timesteps(steps)
    basis = torch.eye(steps, dtype=torch.float64).view(steps, steps, 1, 1, 1, 1)
    sample = torch.zeros(steps, 1, 1, 1, 1, dtype=torch.float64)
    for k, timestep in enumerate(scheduler.timesteps):
        sample = scheduler.step(basis[k], timestep, sample, return_dict=False)[0].to(torch.float64)
    return sample.flatten()


@torch.no_grad()
def rollout(
    generator: VideoGenerator,
    noise: Float[Tensor, "batch channels times rows columns"],
    text: Float[Tensor, "batch tokens width"],
    empty: Float[Tensor, "1 tokens width"],
    *,
    steps: int,
    guidance: float,
    keep: Sequence[int] = (),
    after_step: Callable[[], None] = lambda: None,
) -> Rollout:
    """Integrate from noise to latents in ``steps`` steps, keeping the inputs of the steps in ``keep``."""
    scheduler = generator.new_scheduler()
    scheduler.set_timesteps(steps, device=noise.device)
    z, inputs = noise, {}
    for k, timestep in enumerate(scheduler.timesteps):
        if k in keep:
            inputs[k] = z
        v = guided_velocity(generator, z, timestep.float(), text, empty, guidance)
        z = scheduler.step(v, timestep, z, return_dict=False)[0]
        after_step()
    coefficients = velocity_coefficients(generator, steps) if keep else torch.zeros(steps)
    return Rollout(z, inputs, scheduler.timesteps.float(), coefficients)
