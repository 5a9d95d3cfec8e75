"""What a flow map is trained on: states of the original generator's own paths, and the mean velocities between them.

A path is a rollout of the original generator with guidance: states x_0 (noise) to x_N (clean) at noise levels s_0 = 1 to s_N = 0.
Between any two of them the mean velocity is known exactly, (x_i - x_j) / (s_i - s_j), whatever scheduler made the path. Learned
for every i and j, it samples in any number of steps; of N steps it is the original sampler itself, with guidance inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.adapters.lora import without_lora
from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.sampling.rollout import rollout

TIMESTEPS = 1000
"""Timesteps of a noise level of 1 (:meth:`VideoGenerator.training_pair`)."""


@dataclass(frozen=True)
class Paths:
    """Normalised latents of several paths at the levels that they share, the first of noise alone, the last clean."""

    states: Float[Tensor, "paths states channels times rows columns"]
    levels: Float[Tensor, " states"]

    @property
    def steps(self) -> int:
        """Steps of a path."""
        return len(self.levels) - 1


@dataclass(frozen=True)
class Jumps:
    """Steps between two states of paths: where they start, at which level, how far they go, and their mean velocity."""

    start: Float[Tensor, "paths channels times rows columns"]
    level: Float[Tensor, " paths"]
    length: Float[Tensor, " paths"]
    velocity: Float[Tensor, "paths channels times rows columns"]


def original_paths(
    generator: VideoGenerator,
    noise: Float[Tensor, "paths channels times rows columns"],
    condition: Condition,
    negative: Condition | None,
    *,
    steps: int,
    guidance: float,
    flow_shift: float | None = None,
) -> Paths:
    """Rollouts of the generator as it was, without its adapter and without lengths of steps.

    Raises:
        ValueError: The sampler does not follow a flow from noise to data in ``steps`` steps.
    """
    with without_lora(generator.denoiser), generator.without_lengths():
        path = rollout(
            generator, noise, condition, negative,
            steps=steps, guidance=guidance, flow_shift=flow_shift, keep=range(steps),
        )  # fmt: skip
    levels = flow_levels(generator, steps, tuple(noise.shape[1:]), flow_shift)
    states = [*(path.inputs[k] for k in range(steps)), path.latents]
    return Paths(torch.stack(states, dim=1), levels)


def flow_levels(
    generator: VideoGenerator, steps: int, shape: Sequence[int], flow_shift: float | None = None
) -> Float[Tensor, " states"]:
    """Noise levels of the states of a rollout, from 1 to 0, float64.

    Raises:
        ValueError: The sampler has none, or they are no flow from noise to data.
    """
    sampler = generator.sampler(steps, tuple(shape), flow_shift=flow_shift)
    levels = getattr(sampler.scheduler, "sigmas", torch.zeros(0)).double().cpu()
    # Levels of other parametrisations start far above 1 or are not as many as there are states.
    if (
        len(levels) != steps + 1
        or not 0.99 < float(levels[0]) <= 1
        or float(levels[-1]) != 0
        or bool((levels.diff() >= 0).any())
    ):
        raise ValueError(
            f"{type(sampler.scheduler).__name__} of {type(generator).__name__} follows no flow from noise (level 1) to data (0); "
            "allowed: schedulers of flow matching"
        )
    return levels


def jumps(paths: Paths, starts: Int[Tensor, " paths"], lengths: Int[Tensor, " paths"]) -> Jumps:
    """Of every path one step from state ``starts`` over ``lengths`` states.

    Example:
        >>> jumps(paths, torch.tensor([0, 12]), torch.tensor([24, 6])).length  # of 24 steps: all of it, and a quarter
    """
    rows, ends = torch.arange(len(starts)), starts + lengths
    states = paths.states
    level, length = paths.levels[starts], paths.levels[starts] - paths.levels[ends]
    start, end = states[rows, starts], states[rows, ends]
    way = length.to(states).view(-1, 1, 1, 1, 1)
    return Jumps(start, level.to(states), length.to(states), (start - end) / way)


def draw_jumps(random: torch.Generator, paths: int, steps: int, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Starts and lengths, in states, of one jump of every path of ``steps`` steps.

    The length is that of a rollout in one of ``counts`` steps, or of the path's own, each as often; it starts anywhere.
    """
    known = torch.tensor([steps // count for count in (*counts, steps)])
    lengths = known[torch.randint(len(known), (paths,), generator=random)]
    places = torch.rand(paths, generator=random, dtype=torch.float64)
    starts = (places * (steps - lengths + 1)).long()
    return starts, lengths


def told_guidance(generator: VideoGenerator, guidance: float) -> float:
    """The strength that a shortened denoiser is used with: none where it is a comparison, the same where the denoiser is told."""
    return 1.0 if generator.uses_negative else guidance


def flow_map_error(
    generator: VideoGenerator, wanted: Jumps, condition: Condition, guidance: float
) -> Float[Tensor, " paths"]:
    """Mean squared error of the predicted mean velocity, one number per jump."""
    with generator.stepping(TIMESTEPS * wanted.length):
        predicted = generator.guided(
            wanted.start, TIMESTEPS * wanted.level, condition, None, told_guidance(generator, guidance)
        )
    return (predicted - wanted.velocity).square().flatten(1).mean(1)
