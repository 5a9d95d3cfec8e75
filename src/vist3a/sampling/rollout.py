"""Sampling from the generator, without a graph, keeping what the reward gradient needs.

Inputs of the denoiser are treated as constants (DRTune), so the final latents are linear in the predictions of the steps:
z0 = sum_k c_k v_k + const, with scalars c_k given by the scheduler. :func:`prediction_coefficients` obtains them exactly by
running the scheduler itself on a basis, which works for every scheduler that is linear in the model output (Euler,
UniPC, DDIM, DPM, ...), whatever the output means: velocity, v or noise. The same table drives the rollout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import LatentShape, VideoGenerator
from vist3a.generators.linear_sampler import LinearTable
from vist3a.records import Condition


@dataclass(frozen=True)
class Rollout:
    """Final normalised latents and the (detached) inputs of the denoiser at the kept steps.

    ``lengths`` are those of the steps in timesteps; ``table`` says how they lead from noise to latents.
    """

    latents: Float[Tensor, "batch channels times rows columns"]
    inputs: dict[int, Float[Tensor, "batch channels times rows columns"]]
    timesteps: Float[Tensor, " steps"]
    coefficients: Float[Tensor, " steps"]
    lengths: Float[Tensor, " steps"]
    table: LinearTable


def prompt_generator(prompt: str, seed: int) -> torch.Generator:
    """Randomness that depends on (prompt, seed) only, never on batch or device."""
    # Seven bytes are always a valid seed.
    digest = hashlib.blake2b(f"{seed}/{prompt}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def prompt_noise(
    prompt: str, seed: int, shape: Sequence[int], device: torch.device | str = "cpu"
) -> Float[Tensor, "1 channels times rows columns"]:
    """Starting noise of one prompt."""
    return torch.randn(1, *shape, generator=prompt_generator(prompt, seed)).to(device)


def step_generators(prompts: Sequence[str], seeds: Sequence[int]) -> list[torch.Generator]:
    """What stochastic samplers draw from, one per prompt and its seed, apart from the starting noise."""
    return [prompt_generator(f"steps/{prompt}", seed) for prompt, seed in zip(prompts, seeds, strict=True)]


def prediction_coefficients(
    generator: VideoGenerator, steps: int, shape: LatentShape, flow_shift: float | None = None
) -> Float[Tensor, " steps"]:
    """dz0/dv_k for every step k at latents of ``shape`` (channels, times, rows, columns), float64.

    ValueError for a sampler that is not linear in the predictions.
    """
    return generator.linear_table(steps, shape, flow_shift).weights[-1, 1:]


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
    after_step: Callable[[], None] = lambda: None,
) -> Rollout:
    """Integrate from noise to latents in ``steps`` steps, keeping the inputs of the steps in ``keep``.

    ``generators``: one per sample (see :func:`step_generators`), for stochastic samplers. ``after_step`` is called after every
    step.
    """
    generator.check_guidance(guidance)
    shape = tuple(noise.shape[1:])
    sampler = generator.sampler(steps, shape, noise.device, flow_shift)
    table = generator.linear_table(steps, shape, flow_shift)
    timesteps, lengths = sampler.timesteps.float(), sampler.lengths
    # Weights of all steps on the device at once: a transfer in every step would wait for it.
    weights = table.weights.to(noise.device, noise.dtype).view(steps, steps + 1, *[1] * noise.ndim)
    # Starting noise and predictions so far, of which every state is a weighted sum (``LinearTable``).
    history = noise.new_empty(steps + 1, *noise.shape) if table.deterministic else noise.new_empty(0)
    z, inputs = sampler.start(noise), {}
    if table.deterministic:
        history[0] = noise
    with generator.denoising(condition, negative, guidance, len(noise)) as predict:
        for k in range(steps):
            seen = z * float(table.scales[k])
            if k in keep:
                inputs[k] = seen
            with generator.stepping(lengths[k]):
                prediction = predict(seen, timesteps[k])
            if table.deterministic:
                history[k + 1] = prediction
                z = (weights[k, : k + 2] * history[: k + 2]).sum(0)
            else:
                # Fresh noise is not in the table: the scheduler makes the states, the table gives the coefficients.
                sampler.model_input(z, k)  # schedulers that scale insist on being asked
                z = sampler.step(prediction, k, z, generators).to(noise.dtype)
            after_step()
    return Rollout(z, inputs, timesteps, table.weights[-1, 1:], lengths, table)
