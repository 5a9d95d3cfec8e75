"""Making a generator sample in few steps: its flow map, learned by an adapter from the generator's own paths.

One step: a jump of every path, to where the original generator with guidance goes; the error of the predicted mean velocity. Some
paths begin with jumps of the generator that is being shortened, so that it learns to go on from where it comes itself. No clip is
seen and no adversary or second network trained; the original generator is the same network with its adapter left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vist3a.generators.base import LatentShape, VideoGenerator
from vist3a.generators.sampler import SHIFT_KEYS, time_shift
from vist3a.records import Condition
from vist3a.records.condition import Embed
from vist3a.runtime.launch import Processes
from vist3a.runtime.loop import TrainingLoop, step_generator
from vist3a.runtime.part_meter import PartMeter
from vist3a.runtime.processes import connected, sum_over
from vist3a.runtime.step_log import Log
from vist3a.sampling.rollout import prompt_noise
from vist3a.shortening.flow_map import (
    Lead,
    Paths,
    draw_jumps,
    draw_lead,
    draw_lengths,
    few_step_levels,
    flow_levels,
    flow_map_error,
    jumps,
    led_states,
    original_paths,
    told_guidance,
)
from vist3a.shortening.shorten_settings import ShortenSettings


@dataclass(frozen=True)
class ShortenData:
    """What a generator is shortened on: prompts, taken in turn, their conditions, and what guidance compares with.

    ``negative``: None for the empty text, where the generator compares at all.
    """

    prompts: Sequence[str]
    embed: Embed
    negative: Condition | None = None


def shorten(
    generator: VideoGenerator,
    data: ShortenData,
    settings: ShortenSettings,
    *,
    checkpoint: Path | None = None,
    log: Log | None = None,
) -> None:
    """Train the adapter of the denoiser and its embedding of step lengths, in place; then give it the scheduler for few steps.

    Afterwards the generator samples without guidance of its own (``only_guidance``) in any number of steps. Of several processes
    (:func:`vist3a.runtime.processes.joined`) each takes its share of the paths.

    Args:
        generator: A generator with denoiser and an adapter in it.
        data: Prompts and their conditions.
        settings: Paths, jumps and training.
        checkpoint: A run that finds this file continues it, to the same result; None: nothing is kept.
        log: Called with steps and their scalars.

    Raises:
        ValueError: The generator follows no flow, there is no prompt, or there are fewer paths than processes.

    Example:
        >>> add_lora(generator.denoiser, rank=64, alpha=64, targets=("to_q", "to_k", "to_v", "to_out.0"), seed=0)
        >>> shorten(generator, ShortenData(prompts, generator.embed), settings)
        >>> rollout(generator, noise, condition, None, steps=4, guidance=1.0)
    """
    if not data.prompts:
        raise ValueError("shortening needs at least one prompt")
    processes = connected()
    if settings.paths < processes.count:
        raise ValueError(
            f"shorten.paths: {settings.paths}, but there are {processes.count} processes; allowed: at least one each"
        )
    generator.learn_lengths(settings.seed).length.requires_grad_(True)
    one_step = ShortenStep(generator, data, settings, processes)
    TrainingLoop({"transformer": generator.denoiser}, settings.loop, checkpoint, processes).run(one_step, log)
    take_few_steps(generator, settings)


def take_few_steps(generator: VideoGenerator, settings: ShortenSettings) -> None:
    """Give a generator whose denoiser knows the lengths of steps the scheduler for them, and say what guidance it has inside."""
    shape = generator.latent_grid(settings.frames, settings.height, settings.width)
    scheduler = generator._part("scheduler")
    generator.scheduler = flow_map_scheduler(
        schedule_shift(scheduler, generator.sequence_length(shape), settings.flow_shift)
    )
    generator.only_guidance = told_guidance(generator, settings.guidance)


def flow_map_scheduler(shift: float) -> Any:
    """Steps from one noise level to the next by the mean velocity; the levels are equidistant before the shift."""
    from diffusers import FlowMapEulerDiscreteScheduler

    return FlowMapEulerDiscreteScheduler(shift=shift)


def schedule_shift(scheduler: Any, tokens: int, flow_shift: float | None = None) -> float:
    """The time shift s of a scheduler, level u becoming s u / (1 + (s - 1) u), for latents of so many tokens."""
    if flow_shift is not None:
        return flow_shift
    if scheduler.config.get("use_dynamic_shifting"):
        mu = time_shift(scheduler, tokens)
        # The two forms of diffusers: exp(mu) / (exp(mu) + 1/u - 1), and the same with mu itself.
        linear = scheduler.config.get("time_shift_type") == "linear"
        return mu if linear else float(torch.tensor(mu, dtype=torch.float64).exp())
    return float(next((scheduler.config[key] for key in SHIFT_KEYS if key in scheduler.config), 1.0))


@dataclass(frozen=True)
class Block:
    """Paths that several steps learn from: which of all paths each part holds, its states, and the condition of each path.

    ``lead``: of those in ``led``, what the generator itself went of the way; their states begin there.
    """

    parts: Sequence[tuple[Int[Tensor, " _"], Paths, Condition]]
    led: Bool[Tensor, " paths"]
    lead: Lead | None


class ShortenStep:
    """One step of shortening; everything that it draws comes from (seed, step), and paths from (seed, step // uses)."""

    def __init__(
        self, generator: VideoGenerator, data: ShortenData, settings: ShortenSettings, processes: Processes
    ) -> None:
        self.generator, self.data, self.settings, self.processes = generator, data, settings, processes
        self.device = next(generator.denoiser.parameters()).device
        self.shape: LatentShape = generator.latent_grid(settings.frames, settings.height, settings.width)
        # Before anything is made: a scheduler that follows no flow is told now.
        flow_levels(generator, settings.path_steps, self.shape, settings.flow_shift)
        shift = schedule_shift(generator._part("scheduler"), generator.sequence_length(self.shape), settings.flow_shift)
        self.levels = few_step_levels(settings.path_steps, shift)
        self.negative = data.negative
        if self.negative is None and generator.uses_negative:
            with torch.no_grad():
                self.negative = data.embed([""])
        self.meter = PartMeter(self.device)
        self._number, self._block = -1, Block((), torch.zeros(0, dtype=torch.bool), None)

    def __call__(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss, without a graph: its gradients are on the parameters."""
        settings = self.settings
        with self.meter("paths"):
            block = self.block(step // settings.uses)
        starts, lengths = self._jumps(step, block)
        errors, places = [], []
        with self.meter("learning"):
            for chosen, paths, condition in block.parts:
                wanted = jumps(paths, starts[chosen], lengths[chosen])
                error = flow_map_error(self.generator, wanted, condition, settings.guidance)
                (error.sum() / settings.paths).backward()
                errors.append(error.detach())
                places.append(chosen)
        error, own = torch.cat(errors), torch.cat(places)
        logged = {"loss": error.sum() / settings.paths} | self._by_count(error, lengths[own].to(error.device))
        sum_over(self.processes, list(logged.values()))
        counted = {name: value for name, value in logged.items() if name != "loss"}
        drawn = {f"error/{count}_steps": int((lengths == settings.path_steps // count).sum()) for count in self._counts}
        means = {name: value / drawn[name] for name, value in counted.items() if drawn[name]}
        return logged["loss"], {**means, **self.meter.scalars()}

    def _jumps(self, step: int, block: Block) -> tuple[Tensor, Tensor]:
        """Starts and lengths of the jumps of all paths, in states from where the original took over.

        Drawn for all paths alike in all processes, so that each has its jump wherever it is. A path that was led begins where the
        lead ended, as the next step of few does.
        """
        settings, random = self.settings, step_generator(self.settings.seed, step)
        starts, lengths = draw_jumps(random, settings.paths, settings.path_steps, settings.counts)
        if block.lead is None:
            return starts, lengths
        left = settings.path_steps - block.lead.states
        onward = draw_lengths(random, settings.paths, settings.path_steps, settings.counts, left)
        return starts.masked_fill(block.led, 0), torch.where(block.led, onward, lengths)

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys((*self.settings.counts, self.settings.path_steps)))

    def _by_count(self, error: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Sums of the error over jumps of each length, by the number of steps that have it."""
        steps = self.settings.path_steps
        return {f"error/{n}_steps": (error * (lengths == steps // n)).sum() for n in self._counts}

    def block(self, number: int) -> Block:
        """This process's share of the paths of a block of steps, so many at once as asked for."""
        if number != self._number:
            settings = self.settings
            # Blocks count down from -1, so that they draw apart from the steps.
            random = step_generator(settings.seed, -1 - number)
            lead = draw_lead(random, settings.path_steps, settings.counts)
            led = torch.rand(settings.paths, generator=random) < settings.on_policy
            if lead is None:
                led.zero_()
            own = torch.tensor(self.processes.share(range(settings.paths)))
            parts = []
            for chosen, leader in ((own[~led[own]], None), (own[led[own]], lead)):
                for part in chosen.split(settings.paths_at_once or settings.paths):
                    if len(part):
                        parts.append((part, *self._paths(number, part.tolist(), leader)))
            self._number, self._block = number, Block(parts, led, lead)
        return self._block

    def _paths(self, number: int, part: Sequence[int], lead: Lead | None) -> tuple[Paths, Condition]:
        """Paths of these places of a block, with their conditions."""
        settings, prompts = self.settings, self.data.prompts
        places = [number * settings.paths + place for place in part]
        asked = [prompts[place % len(prompts)] for place in places]
        with torch.no_grad():
            condition = self.data.embed(asked)
        # A prompt that comes again comes with other noise.
        noise = torch.cat(
            [prompt_noise(prompt, settings.seed + place, self.shape, self.device)
             for prompt, place in zip(asked, places, strict=True)]
        ).to(_wide(self.generator))  # fmt: skip
        levels, guidance = self.levels, settings.guidance
        if lead is not None:
            noise = led_states(self.generator, noise, condition, levels=levels, lead=lead, guidance=guidance)
            levels = levels[lead.states :]
        paths = original_paths(self.generator, noise, condition, self.negative, levels=levels, guidance=guidance)
        return paths, condition


def _wide(generator: VideoGenerator) -> torch.dtype:
    """Type of the states: float32 at least, as a sum over steps is rounded at each."""
    return torch.promote_types(generator.denoiser.dtype, torch.float32)
