"""Direct reward finetuning of the generator through the stitched decoder (VIST3A eq. 3, algorithm 1).

One step: roll out a batch of prompts without a graph, decode to frames and 3D, render, score, take the reward gradient at
the final latents, push it through K re-run denoising steps, add the generative loss on real clips, update the
generator's LoRA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.adapters.lora import merged_lora
from vist3a.alignment.align_draw import AlignDraw, Variant, draw_align_step
from vist3a.alignment.clip_latents import ClipLatents
from vist3a.alignment.decoded_views import decode_views
from vist3a.alignment.reward_gradient import backpropagate
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.alignment.term_gradients import term_gradient_norms
from vist3a.generators.base import VideoGenerator
from vist3a.records import Clip, Condition
from vist3a.records.condition import Embed
from vist3a.rendering.base import Renderer
from vist3a.runtime.launch import Processes
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.part_meter import PartMeter
from vist3a.runtime.processes import connected, sum_over
from vist3a.runtime.step_log import Log
from vist3a.sampling.rollout import prompt_noise, rollout, step_generators
from vist3a.stitching.decoder import StitchedDecoder


@dataclass(frozen=True)
class Phrased:
    """Conditions of texts, and of the prompts of rollouts, which are asked in other words each time.

    ``ask`` gets prompts and their places among all prompts of the run.
    """

    embed: Embed
    ask: Callable[[Sequence[str], Sequence[int]], Condition]

    def __call__(self, texts: Sequence[str]) -> Condition:
        """Conditions of texts as they are."""
        return self.embed(texts)


@dataclass(frozen=True)
class AlignSampling:
    """Sizes of an alignment step. ``gradient_steps`` is K; ``scored_views`` views per sample are rendered and scored.

    ``decoded_views`` (None: the same views) is the number of views that are scored as decoded frames.
    A pair of ``denoising_steps`` or ``guidance`` is a range that every step draws from. ``gradient_batch`` of the steps with
    gradient are run at once.
    Every ``term_gradients_every`` steps (0: never) the gradient of each reward term is taken on its own, for its norm.
    """

    prompts_per_step: int
    clips_per_step: int
    denoising_steps: int | tuple[int, int]
    gradient_steps: int
    guidance: float | tuple[float, float]
    scored_views: int
    generative_weight: float
    frames: int
    height: int
    width: int
    flow_shift: float | None = None
    term_gradients_every: int = 0
    gradient_batch: int = 1
    variant: Variant = "drtune"
    decoded_views: int | None = None


def align(
    generator: VideoGenerator,
    embed: Embed | Phrased,
    decoder: StitchedDecoder,
    render: Renderer,
    rewards: WeightedSum,
    prompts: Sequence[str],
    clips: Sequence[Clip],
    loop: LoopConfig,
    sampling: AlignSampling,
    *,
    seed: int,
    negative: Condition | None = None,
    checkpoint: Path | None = None,
    log: Log | None = None,
    watch: Callable[[int], Mapping[str, Tensor]] | None = None,
) -> None:
    """Train the generator's parameters that require gradients (its LoRA), in place.

    ``embed`` gives the conditions of prompts and of the captions of clips; ``negative`` is what guidance compares with (None:
    the empty text, where the generator compares at all). ``watch(step)`` is called before every step and its scalars are logged
    (see :class:`vist3a.alignment.watch.Watch`). Of several processes
    (:func:`vist3a.runtime.processes.joined`) each takes its share of the prompts and clips of a step.
    """
    if not prompts:
        raise ValueError("alignment needs at least one prompt")
    processes = connected()
    for name in ("prompts_per_step", "clips_per_step"):
        if getattr(sampling, name) < processes.count:
            raise ValueError(
                f"align.{name}: {getattr(sampling, name)}, but there are {processes.count} processes; allowed: at least one each"
            )
    denoiser = generator.denoiser
    device = next(denoiser.parameters()).device
    if negative is None and generator.uses_negative:
        with torch.no_grad():
            negative = embed([""])
    meter, latents = PartMeter(device), ClipLatents(generator, clips)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        watched = watch(step) if watch is not None else {}
        random = step_generator(seed, step)
        first = step * sampling.prompts_per_step
        chosen = [prompts[(first + i) % len(prompts)] for i in range(sampling.prompts_per_step)]
        places = processes.share(range(first, first + len(chosen)))
        asked = (lambda own: embed.ask(own, places)) if isinstance(embed, Phrased) else embed
        logged, squares = _reward_step(
            generator, asked, decoder, render, rewards, chosen, sampling, random, meter, processes,
            step=step, seed=seed, negative=negative, device=device,
        )  # fmt: skip
        with meter("generative"):
            generative = _generative_loss(generator, embed, latents, sampling, random, device, processes)
            (sampling.generative_weight * generative).backward()
        logged["generative_loss"] = generative.detach()
        sum_over(processes, [*logged.values(), *squares.values()])
        logged |= {name: square.sqrt() for name, square in squares.items()}
        loss = sampling.generative_weight * logged["generative_loss"]
        return loss, {**watched, **logged, **meter.scalars()}

    TrainingLoop({"transformer": denoiser}, loop, checkpoint, processes).run(step_loss, log)


def _reward_step(
    generator: VideoGenerator,
    embed: Embed,
    decoder: StitchedDecoder,
    render: Renderer,
    rewards: WeightedSum,
    prompts: Sequence[str],
    sampling: AlignSampling,
    random: torch.Generator,
    meter: PartMeter,
    processes: Processes,
    *,
    step: int,
    seed: int,
    negative: Condition | None,
    device: torch.device,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Accumulate the gradient of minus the mean reward of ``prompts`` that this process's share of them contributes.

    The share's part of the mean of every term, and of the squared norms of the gradients at the latents; both sum over processes.
    """
    shape = generator.latent_grid(sampling.frames, sampling.height, sampling.width)
    drawn = draw_align_step(
        random,
        variant=sampling.variant,
        denoising_steps=sampling.denoising_steps,
        guidance=sampling.guidance,
        gradient_steps=sampling.gradient_steps,
        frames=sampling.frames,
        scored_views=sampling.scored_views,
        decoded_views=sampling.decoded_views,
    )
    own = processes.share(prompts)
    share = len(own) / len(prompts)
    with meter("rollout"):
        with torch.no_grad():
            condition = embed(own)
        with merged_lora(generator.denoiser):
            path = rollout(
                generator,
                torch.cat([prompt_noise(prompt, seed + step, shape, device) for prompt in own]),
                condition,
                negative,
                steps=drawn.steps,
                guidance=drawn.guidance,
                keep=drawn.keep,
                flow_shift=sampling.flow_shift,
                generators=step_generators(own, seed + step),
            )
    with meter("reward"):
        every = sampling.term_gradients_every
        gradient, logged, squares = _reward_gradient(
            generator,
            decoder,
            render,
            rewards,
            path.latents,
            own,
            drawn,
            share,
            bool(every) and step % every == 0,
        )
    with meter("gradient"):
        backpropagate(generator, path, gradient, condition, negative, drawn.guidance, sampling.gradient_batch)
    return logged, squares


def _reward_gradient(
    generator: VideoGenerator,
    decoder: StitchedDecoder,
    render: Renderer,
    rewards: WeightedSum,
    latents: Float[Tensor, "batch channels times rows columns"],
    prompts: Sequence[str],
    drawn: AlignDraw,
    share: float,
    by_term: bool,
) -> tuple[Float[Tensor, "batch channels times rows columns"], dict[str, Tensor], dict[str, Tensor]]:
    """Gradient of minus the mean reward, times ``share``, at normalised latents; terms and squared norms to log.

    A function of its own: on return frames, scene and renderings are gone, before the denoiser needs the memory.
    """
    latents = latents.detach().requires_grad_(True)
    scored, _ = decode_views(
        generator,
        decoder,
        render,
        latents,
        prompts,
        torch.tensor(drawn.views),
        rewards.needs,
        torch.tensor(drawn.decoded),
    )
    total, parts = rewards(scored)
    norms = term_gradient_norms(rewards.weights, parts, latents) if by_term else {}
    (gradient,) = torch.autograd.grad(-total.mean() * share, latents)
    logged = {f"reward/{name}": value.detach().mean() * share for name, value in {**parts, "total": total}.items()}
    squares = {f"reward_gradient/{name}": (norm * share).square() for name, norm in norms.items()}
    return gradient, logged, squares | {"reward_gradient_norm": gradient.square().sum()}


def _generative_loss(
    generator: VideoGenerator,
    embed: Embed,
    latents: ClipLatents,
    sampling: AlignSampling,
    random: torch.Generator,
    device: torch.device,
    processes: Processes,
) -> Float[Tensor, ""]:
    """This process's part of the generator's own training loss on curated clips, noise levels uniform in (0, 1)."""
    clips = latents.clips
    chosen = torch.randint(len(clips), (sampling.clips_per_step,), generator=random).tolist()
    shortest = min(sampling.frames, *(len(clips[i].frames) for i in chosen))
    own = processes.share(range(len(chosen)))
    clean = latents([chosen[i] for i in own], shortest, device)
    with torch.no_grad():
        condition = embed([clips[chosen[i]].caption for i in own])
    # Drawn for all clips, so that each has its noise wherever it is.
    noise = torch.randn(len(chosen), *clean.shape[1:], generator=random)[own].to(device)
    level = torch.rand(len(chosen), generator=random)[own].to(device)
    pair = generator.training_pair(clean, noise, level)
    error = generator.prediction(pair.noisy, pair.timesteps, condition) - pair.target
    return error.square().mean() * (len(own) / len(chosen))
