"""Making a generator sample in few steps: its flow map, learned by an adapter from the generator's own paths.

One step: a jump of every path, to where the original generator with guidance goes; the error of the predicted mean velocity. No
clip is seen and no adversary or second network trained; the original generator is the same network with its adapter left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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
    Paths,
    draw_jumps,
    flow_levels,
    flow_map_error,
    jumps,
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
        self.negative = data.negative
        if self.negative is None and generator.uses_negative:
            with torch.no_grad():
                self.negative = data.embed([""])
        self.meter = PartMeter(self.device)
        self._block, self._paths = -1, list[tuple[Paths, Condition]]()

    def __call__(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss, without a graph: its gradients are on the parameters."""
        settings = self.settings
        with self.meter("paths"):
            parts = self.paths(step // settings.uses)
        # Drawn for all paths alike in all processes, so that each has its jump wherever it is.
        starts, lengths = draw_jumps(
            step_generator(settings.seed, step), settings.paths, settings.path_steps, settings.counts
        )
        own = self.processes.share(range(settings.paths))
        errors, place = [], 0
        with self.meter("learning"):
            for paths, condition in parts:
                chosen = own[place : place + len(condition)]
                place += len(condition)
                wanted = jumps(paths, starts[chosen], lengths[chosen])
                error = flow_map_error(self.generator, wanted, condition, settings.guidance)
                (error.sum() / settings.paths).backward()
                errors.append(error.detach())
        error = torch.cat(errors)
        logged = {"loss": error.sum() / settings.paths} | self._by_count(error, lengths[own].to(error.device))
        sum_over(self.processes, list(logged.values()))
        counted = {name: value for name, value in logged.items() if name != "loss"}
        drawn = {f"error/{count}_steps": int((lengths == settings.path_steps // count).sum()) for count in self._counts}
        means = {name: value / drawn[name] for name, value in counted.items() if drawn[name]}
        return logged["loss"], {**means, **self.meter.scalars()}

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys((*self.settings.counts, self.settings.path_steps)))

    def _by_count(self, error: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Sums of the error over jumps of each length, by the number of steps that have it."""
        steps = self.settings.path_steps
        return {f"error/{n}_steps": (error * (lengths == steps // n)).sum() for n in self._counts}

    def paths(self, block: int) -> list[tuple[Paths, Condition]]:
        """This process's share of the paths of a block of steps, with their conditions, so many at once as asked for."""
        if block != self._block:
            self._paths = []
            settings, prompts = self.settings, self.data.prompts
            places = self.processes.share(range(block * settings.paths, (block + 1) * settings.paths))
            size = settings.paths_at_once or len(places)
            for first in range(0, len(places), size):
                part = places[first : first + size]
                asked = [prompts[place % len(prompts)] for place in part]
                with torch.no_grad():
                    condition = self.data.embed(asked)
                # A prompt that comes again comes with other noise.
                noise = torch.cat(
                    [prompt_noise(prompt, settings.seed + place, self.shape, self.device)
                     for prompt, place in zip(asked, part, strict=True)]
                )  # fmt: skip
                paths = original_paths(
                    self.generator, noise.to(_wide(self.generator)), condition, self.negative,
                    steps=settings.path_steps, guidance=settings.guidance, flow_shift=settings.flow_shift,
                )  # fmt: skip
                self._paths.append((paths, condition))
            self._block = block
        return self._paths


def _wide(generator: VideoGenerator) -> torch.dtype:
    """Type of the states: float32 at least, as a sum over steps is rounded at each."""
    return torch.promote_types(generator.denoiser.dtype, torch.float32)
