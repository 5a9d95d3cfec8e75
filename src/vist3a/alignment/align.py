"""Direct reward finetuning of the generator through the stitched decoder (VIST3A eq. 3, algorithm 1).

One step: roll out a batch of prompts without a graph, decode to frames and 3D, render, score, take the reward gradient at
the final latents, push it through K re-run denoising steps (or all of them), add the generative loss on real clips or the
distance to the generator as it was, update the generator's LoRA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.adapters.lora import merged_lora, without_lora
from vist3a.alignment.align_draw import AlignDraw, draw_align_step
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.clip_latents import ClipLatents
from vist3a.alignment.decoded_views import decode_views
from vist3a.alignment.frames_apart import FramesApart
from vist3a.alignment.reward_gradient import backpropagate, backpropagate_through
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.alignment.term_gradients import term_gradient_norms
from vist3a.generators.base import VideoGenerator
from vist3a.records import Clip, Condition
from vist3a.records.condition import Ask, Embed
from vist3a.rendering import renderer_for
from vist3a.rendering.base import Renderer
from vist3a.runtime.launch import Processes
from vist3a.runtime.loop import TrainingLoop, step_generator
from vist3a.runtime.part_meter import PartMeter
from vist3a.runtime.processes import connected, sum_over
from vist3a.runtime.step_log import Log
from vist3a.sampling.rollout import Rollout, prompt_noise, rollout, step_generators
from vist3a.stitching.decoder import StitchedDecoder

APART = 1_000_003
"""Between the seeds of the noises of one prompt: no step of another number has them."""


@dataclass(frozen=True)
class AlignData:
    """What a generator is aligned on.

    Attributes:
        prompts: Prompts of rollouts, taken in turn.
        clips: Clips of the generative loss, each with its caption.
        embed: Conditions of prompts and of the captions of clips.
        ask: Conditions of the prompts of rollouts, where these are asked in other words each time; None: ``embed``.
        negative: What guidance compares with; None: the empty text, where the generator compares at all.
    """

    prompts: Sequence[str]
    clips: Sequence[Clip]
    embed: Embed
    ask: Ask | None = None
    negative: Condition | None = None


@dataclass(frozen=True)
class AlignRun:
    """Where an unfinished alignment is kept, and who follows it.

    Attributes:
        checkpoint: A run that finds this file continues it, to the same result; None: nothing is kept.
        log: Called with steps and their scalars.
        watch: Called before every step, while the generator has its averaged parameters (where there are any); its scalars are
            logged (see :class:`vist3a.alignment.watch.Watch`).
        finish: Called after the last step, in all processes, when the generator has its final parameters; may put those of an
            earlier step in their place.
    """

    checkpoint: Path | None = None
    log: Log | None = None
    watch: Callable[[int], Mapping[str, Tensor]] | None = None
    finish: Callable[[], None] | None = None


def align(
    generator: VideoGenerator,
    decoder: StitchedDecoder,
    rewards: WeightedSum,
    data: AlignData,
    settings: AlignSettings,
    run: AlignRun | None = None,
    render: Renderer | None = None,
) -> None:
    """Train the generator's parameters that require gradients (its LoRA), in place.

    Of several processes (:func:`vist3a.runtime.processes.joined`) each takes its share of the prompts and clips of a step.

    Args:
        generator: A video generator with autoencoder and denoiser, and adapters in the denoiser.
        decoder: The stitched decoder that the reward looks through, frozen, on the same device.
        rewards: The weighted terms of the reward.
        data: Prompts, clips and their conditions.
        settings: Sizes, draws, weights and the training.
        run: Where the training is kept, and who follows it; None: nowhere and nobody.
        render: Renderer of the Gaussians; None: that of the device.

    Raises:
        ValueError: There is no prompt, a step has fewer prompts or clips than there are processes, or a shortened generator is to
            be guided, or held by a loss that it has not.

    Example:
        >>> add_lora(generator.denoiser, rank=8, alpha=16, targets=("to_q", "to_v"), seed=0)
        >>> settings = AlignSettings(
        ...     seed=0, frames=13, height=64, width=64, prompts_per_step=2, clips_per_step=2, denoising_steps=12,
        ...     gradient_steps=2, guidance=3.0, scored_views=4, generative_weight=0.5,
        ...     loop=LoopConfig(steps=20, learning_rate=1e-3),
        ... )
        >>> rewards = weighted_terms({"reprojection": 1.0, "camera_smoothness": 0.1}, {}, None)
        >>> align(generator, decoder, rewards, AlignData(prompts, clips, generator.embed), settings)
    """
    if not data.prompts:
        raise ValueError("alignment needs at least one prompt")
    run, processes = run or AlignRun(), connected()
    # A process without a prompt or clip would wait for the others with nothing to sum.
    least = {"prompts_per_step": processes.count * settings.noises_per_prompt, "clips_per_step": processes.count}
    for name, needed in least.items():
        if getattr(settings, name) < needed:
            raise ValueError(
                f"align.{name}: {getattr(settings, name)}, but there are {processes.count} processes; allowed: at least {needed}"
            )
    check_shortened(generator, settings)
    one_step = AlignStep(generator, decoder, rewards, data, settings, processes, render)

    loop = TrainingLoop({"transformer": generator.denoiser}, settings.loop, run.checkpoint, processes)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        watched: Mapping[str, Tensor] = {}
        if run.watch is not None:
            # What is looked at is what alignment would return now.
            with loop.averaged():
                watched = run.watch(step)
        loss, logged = one_step(step)
        return loss, {**watched, **logged}

    loop.run(step_loss, run.log)
    if run.finish is not None:
        run.finish()


def check_shortened(generator: VideoGenerator, settings: AlignSettings) -> None:
    """ValueError where a shortened generator is to be guided otherwise, or held by a training loss that it does not have."""
    if generator.only_guidance is None:
        return
    guidance = settings.guidance
    for end in guidance if isinstance(guidance, tuple) else (guidance,):
        generator.check_guidance(end)
    if settings.regularizer == "generative" and settings.generative_weight:
        raise ValueError(
            "align.regularizer: generative, but a shortened generator has guidance inside, which a training loss on clips would "
            "undo; allowed: distillation, or align.generative_weight 0"
        )


class AlignStep:
    """One step of alignment: leaves its gradients on the generator's parameters.

    Everything that it draws comes from (seed, step).
    """

    def __init__(
        self,
        generator: VideoGenerator,
        decoder: StitchedDecoder,
        rewards: WeightedSum,
        data: AlignData,
        settings: AlignSettings,
        processes: Processes,
        render: Renderer | None = None,
    ) -> None:
        self.generator, self.decoder, self.rewards, self.data = generator, decoder, rewards, data
        self.settings, self.processes = settings, processes
        self.device = next(generator.denoiser.parameters()).device
        self.render = renderer_for(self.device) if render is None else render
        self.negative = data.negative
        if self.negative is None and generator.uses_negative:
            with torch.no_grad():
                self.negative = data.embed([""])
        self.meter, self.latents = PartMeter(self.device), ClipLatents(generator, data.clips)

    def __call__(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, without a graph, and what is logged."""
        settings = self.settings
        random = step_generator(settings.seed, step)
        logged, squares, rolled = self._reward(step, random)
        holding = f"{settings.regularizer}_loss"
        with self.meter(settings.regularizer):
            parts = []
            generative = settings.regularizer == "generative"
            for part in self._generative_loss(random) if generative else self._distillation_loss(*rolled):
                # The gradients of the reward are on the parameters already; these add to them.
                (settings.generative_weight * part).backward()
                parts.append(part.detach())
        logged[holding] = torch.stack(parts).sum()
        sum_over(self.processes, [*logged.values(), *squares.values()])
        # Norms of parts do not add up, their squares do.
        logged |= {name: square.sqrt() for name, square in squares.items()}
        loss = settings.generative_weight * logged[holding]
        return loss, {**logged, **self.meter.scalars()}

    def _reward(
        self, step: int, random: torch.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[Rollout, Condition, float]]:
        """Accumulate the gradient of minus the mean reward that this process's share of the step's prompts contributes.

        The share's part of the mean of every term, and of the squared norms of the gradients at the latents; both sum over
        processes. And what was rolled out, with its condition and guidance.
        """
        generator, settings, noises = self.generator, self.settings, self.settings.noises_per_prompt
        count = settings.prompts_per_step // noises
        places = range(step * count, (step + 1) * count)
        shape = generator.latent_grid(settings.frames, settings.height, settings.width)
        # Drawn alike in all processes, whatever their share.
        drawn = draw_align_step(random, settings)
        # All rollouts of a prompt are made in one process.
        own_places = [place for place in self.processes.share(places) for _ in range(noises)]
        seeds = [settings.seed + step + APART * number for number in range(noises)] * (len(own_places) // noises)
        own = [self.data.prompts[place % len(self.data.prompts)] for place in own_places]
        # The whole rollout without a graph: only the kept steps are run again with one.
        with self.meter("rollout"):
            with torch.no_grad():
                condition = self.data.embed(own) if self.data.ask is None else self.data.ask(own, own_places)
            with merged_lora(generator.denoiser):
                path = rollout(
                    generator,
                    torch.cat([prompt_noise(*one, shape, self.device) for one in zip(own, seeds, strict=True)]),
                    condition,
                    self.negative,
                    steps=drawn.steps,
                    guidance=drawn.guidance,
                    keep=drawn.keep,
                    flow_shift=settings.flow_shift,
                    generators=step_generators(own, seeds),
                )
        with self.meter("reward"):
            every = settings.term_gradients_every
            by_term = bool(every) and step % every == 0
            gradient, logged, squares = self.reward_gradient(path.latents, own, drawn, by_term)
        # From the latents on it is a vector-Jacobian product per kept step.
        with self.meter("gradient"):
            if settings.variant == "all":
                backpropagate_through(generator, path, gradient, condition, self.negative, drawn.guidance)
            else:
                backpropagate(
                    generator, path, gradient, condition, self.negative, drawn.guidance, settings.gradient_batch
                )
        return logged, squares, (path, condition, drawn.guidance)

    def reward_gradient(
        self,
        latents: Float[Tensor, "batch channels times rows columns"],
        prompts: Sequence[str],
        drawn: AlignDraw,
        by_term: bool,
    ) -> tuple[Float[Tensor, "batch channels times rows columns"], dict[str, Tensor], dict[str, Tensor]]:
        """Gradient at normalised latents of minus the mean reward of a step to which ``prompts`` contribute their share.

        Also what is logged: the share's part of every term, and squared norms of gradients. A function of its own: on return
        frames, scene and renderings are gone, before the denoiser needs the memory.
        """
        share = len(prompts) / self.settings.prompts_per_step
        latents = latents.detach().requires_grad_(True)
        apart = FramesApart(self.generator) if self.settings.frames_apart else None
        scored, _ = decode_views(
            self.generator,
            self.decoder,
            self.render,
            latents,
            prompts,
            torch.tensor(drawn.views),
            self.rewards.needs,
            torch.tensor(drawn.decoded),
            apart,
            self.settings.views_at_once,
        )
        total, parts = self.rewards(replace(scored, together=self._mean_over_step))
        norms = term_gradient_norms(self.rewards.weights, parts, latents) if by_term else {}
        loss = -total.mean() * share
        gradient = torch.autograd.grad(loss, latents)[0] if apart is None else apart.gradient(loss, latents)
        logged = {f"reward/{name}": value.detach().mean() * share for name, value in {**parts, "total": total}.items()}
        squares = {f"reward_gradient/{name}": (norm * share).square() for name, norm in norms.items()}
        return gradient, logged, squares | {"reward_gradient_norm": gradient.square().sum()}

    def _mean_over_step(self, figure: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        total = figure.sum()
        sum_over(self.processes, [total])
        return (total / self.settings.prompts_per_step).expand_as(figure)

    def _generative_loss(self, random: torch.Generator) -> Iterator[Float[Tensor, ""]]:
        """This process's parts of the generator's own training loss on curated clips, noise levels uniform in (0, 1).

        They add up; each has a graph of its own, of ``clips_at_once`` clips.
        """
        generator, settings, clips = self.generator, self.settings, self.data.clips
        chosen = torch.randint(len(clips), (settings.clips_per_step,), generator=random).tolist()
        shortest = min(settings.frames, *(len(clips[i].frames) for i in chosen))
        own = self.processes.share(range(len(chosen)))
        latents = self.latents([chosen[i] for i in own], shortest, self.device)
        # Drawn for all clips, so that each has its noise wherever it is.
        noise = torch.randn(len(chosen), *latents.shape[1:], generator=random)[own].to(self.device)
        level = torch.rand(len(chosen), generator=random)[own].to(self.device)
        size = len(own) if settings.clips_at_once is None else settings.clips_at_once
        for start in range(0, len(own), size):
            part = slice(start, start + size)
            with torch.no_grad():
                condition = self.data.embed([clips[chosen[i]].caption for i in own[part]])
            pair = generator.training_pair(latents[part], noise[part], level[part])
            error = generator.prediction(pair.noisy, pair.timesteps, condition) - pair.target
            yield error.square().mean() * (len(own[part]) / len(chosen))

    def _distillation_loss(self, path: Rollout, condition: Condition, guidance: float) -> Iterator[Float[Tensor, ""]]:
        """This process's parts of the mean squared distance to the predictions of the generator before it was aligned.

        On the inputs of the rollout's steps that carry gradient, which are where the generator really goes; one part per step.
        """
        generator = self.generator
        for k, noisy in path.inputs.items():
            timestep = path.timesteps[k].to(noisy.device)
            with generator.stepping(path.lengths[k]):
                with torch.no_grad(), without_lora(generator.denoiser):
                    before = generator.guided(noisy, timestep, condition, self.negative, guidance)
                now = generator.guided(noisy, timestep, condition, self.negative, guidance)
            share = len(noisy) / self.settings.prompts_per_step
            yield (now - before).square().mean() * (share / len(path.inputs))
