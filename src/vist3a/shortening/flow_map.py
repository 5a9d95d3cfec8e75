"""What a flow map is trained on: states of the original generator's own paths, and the mean velocities between them.

A path is a rollout of the original generator with guidance, in Euler steps: states x_0 (noise) to x_N (clean) at noise levels
s_0 = 1 to s_N = 0, among which are all levels that few-step sampling meets. Between any two states the mean velocity is known
exactly, (x_i - x_j) / (s_i - s_j). Learned for every i and j, it samples in any number of steps; of N steps it is the path
itself, with guidance inside.

Few-step sampling meets its own states, not those of the original's paths, and what was learned on the latter alone is lost there
(exposure bias; Ross et al., 2011, DAgger). So the generator that is being shortened leads a share of the paths: its own jumps go
from noise to some level, and the original goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.adapters.lora import without_lora
from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition

TIMESTEPS = 1000
"""Timesteps of a noise level of 1 (:meth:`VideoGenerator.training_pair`)."""


@dataclass(frozen=True)
class Paths:
    """Normalised latents of several paths at the levels that they share; the last are clean, and the first of noise alone unless
    another generator led there.
    """

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


@dataclass(frozen=True)
class Lead:
    """How far another generator goes on a path before the original takes over: ``jumps`` steps over ``length`` states each."""

    length: int
    jumps: int

    @property
    def states(self) -> int:
        """State at which the original takes over."""
        return self.length * self.jumps


def few_step_levels(steps: int, shift: float) -> Float[Tensor, " states"]:
    """Noise levels from 1 to 0, equidistant before the time shift, float64: every n-th is that of ``steps / n`` steps.

    Example:
        >>> few_step_levels(4, shift=3.0)
        tensor([1.0000, 0.9000, 0.7500, 0.5000, 0.0000], dtype=torch.float64)
    """
    even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return shift * even / (1 + (shift - 1) * even)


@torch.no_grad()
def original_paths(
    generator: VideoGenerator,
    start: Float[Tensor, "paths channels times rows columns"],
    condition: Condition,
    negative: Condition | None,
    *,
    levels: Float[Tensor, " states"],
    guidance: float,
) -> Paths:
    """Euler steps of the generator as it was, without its adapter and without lengths of steps, from ``start`` at the first of
    ``levels`` to the last.

    ``negative``: what guidance compares with, where it does.
    """
    states = [start]
    with (
        without_lora(generator.denoiser),
        generator.without_lengths(),
        generator.denoising(condition, negative, guidance, len(start)) as velocity,
    ):
        for here, there in pairwise(levels.tolist()):
            told = velocity(states[-1], torch.tensor(TIMESTEPS * here, device=start.device))
            states.append(states[-1] - (here - there) * told)
    return Paths(torch.stack(states, dim=1), levels)


@torch.no_grad()
def led_states(
    generator: VideoGenerator,
    noise: Float[Tensor, "paths channels times rows columns"],
    condition: Condition,
    *,
    levels: Float[Tensor, " states"],
    lead: Lead,
    guidance: float,
) -> Float[Tensor, "paths channels times rows columns"]:
    """Where the generator's own jumps lead from noise: states at ``levels[lead.states]``, as its sampling meets them.

    ``guidance`` is that of the original (:func:`told_guidance`).
    """
    state, told = noise, told_guidance(generator, guidance)
    for here, there in pairwise(levels[: lead.states + 1 : lead.length].tolist()):
        level, length = (torch.tensor(TIMESTEPS * value, device=noise.device) for value in (here, here - there))
        with generator.stepping(length):
            state = state - (here - there) * generator.guided(state, level, condition, None, told)
    return state


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
    lengths = draw_lengths(random, paths, steps, counts, steps)
    places = torch.rand(paths, generator=random, dtype=torch.float64)
    starts = (places * (steps - lengths + 1)).long()
    return starts, lengths


def draw_lead(random: torch.Generator, steps: int, counts: Sequence[int]) -> Lead | None:
    """One of ``counts`` of more than one step, and after how many of them the original takes over, each as often.

    None: no count has a second step.
    """
    several = [count for count in counts if count > 1]
    if not several:
        return None
    count = several[int(torch.randint(len(several), (), generator=random))]
    return Lead(steps // count, 1 + int(torch.randint(count - 1, (), generator=random)))


def draw_lengths(
    random: torch.Generator, paths: int, steps: int, counts: Sequence[int], left: int
) -> Int[Tensor, " paths"]:
    """Lengths of one jump of every path from a place with ``left`` of ``steps`` states before it.

    They are those of :func:`draw_jumps` that do not go beyond the end, each as often.
    """
    known = torch.tensor([steps // count for count in (*counts, steps) if steps // count <= left])
    return known[torch.randint(len(known), (paths,), generator=random)]


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
