"""Direct reward finetuning of the generator through the stitched decoder (VIST3A eq. 3, algorithm 1).

One step: roll out a batch of prompts without a graph, decode to frames and 3D, render, score, take the reward gradient at
the final latents, push it through K re-run denoising steps, add the generative loss on real clips, update the
generator's LoRA.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.models.generators.base import VideoGenerator
from vist3a.records import Clip, Condition, Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.rewards.base import Need, Views
from vist3a.rewards.weighted_sum import WeightedSum
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.sequential import SequentialDecoder
from vist3a.training.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.training.reward_gradient import backpropagate
from vist3a.training.rollout import prompt_noise, rollout, step_generators
from vist3a.training.sampling import Embed
from vist3a.training.step_log import Log
from vist3a.training.term_gradients import term_gradient_norms


@dataclass(frozen=True)
class AlignSampling:
    """Sizes of an alignment step. ``gradient_steps`` is K; ``scored_views`` views per sample are rendered and scored.

    Every ``term_gradients_every`` steps (0: never) the gradient of each reward term is taken on its own, for its norm.
    """

    prompts_per_step: int
    clips_per_step: int
    denoising_steps: int
    gradient_steps: int
    guidance: float
    scored_views: int
    generative_weight: float
    frames: int
    height: int
    width: int
    flow_shift: float | None = None
    term_gradients_every: int = 0


def decode_views(
    generator: VideoGenerator,
    decoder: StitchedDecoder | SequentialDecoder,
    render: Renderer,
    normalised: Float[Tensor, "batch channels times rows columns"],
    prompts: Sequence[str],
    view_indices: Tensor,
    needs: Collection[Need] = ("decoded", "rendered"),
) -> tuple[Views, Reconstruction]:
    """Frames and renderings (at the predicted cameras) of the chosen views of normalised latents, and the 3D.

    What ``needs`` does not name is left out, the video decoder too where nothing of the 3D decoder reads the image.
    """
    raw, network = generator.denormalise(normalised), decoder.network
    if "rendered" in needs and not network.has_gaussians:
        raise ValueError(
            "reward terms on renderings need a reconstruction network with a Gaussian head, and this one has none; allowed: "
            "terms on decoded views and on geometry"
        )
    frames = network.fit(generator.decode(raw)) if "decoded" in needs or decoder.needs_rgb else None
    stride = generator.spatial_stride
    size = network.frame_size(raw.shape[-2] * stride, raw.shape[-1] * stride)
    scene = decoder(raw, size, rgb=frames)
    rendered = None
    if "rendered" in needs:
        assert scene.gaussians is not None
        rendered = render(scene.gaussians, scene.cameras[:, view_indices], size).rgb.clamp(0, 1)
    shown = None if frames is None else frames[:, view_indices]
    return Views(shown, rendered, tuple(prompts), scene), scene


def align(
    generator: VideoGenerator,
    embed: Embed,
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
    (see :class:`vist3a.training.watch.Watch`).
    """
    if not prompts:
        raise ValueError("alignment needs at least one prompt")
    denoiser = generator.denoiser
    device = next(denoiser.parameters()).device
    shape = generator.latent_grid(sampling.frames, sampling.height, sampling.width)
    if negative is None and generator.uses_negative:
        with torch.no_grad():
            negative = embed([""])

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        watched = watch(step) if watch is not None else {}
        random = step_generator(seed, step)
        first = step * sampling.prompts_per_step
        chosen = [prompts[(first + i) % len(prompts)] for i in range(sampling.prompts_per_step)]
        keep = torch.randperm(sampling.denoising_steps, generator=random)[: sampling.gradient_steps].tolist()
        views = torch.randperm(sampling.frames, generator=random)[: sampling.scored_views].sort().values
        with torch.no_grad():
            condition = embed(chosen)
        noise = torch.cat([prompt_noise(p, seed + step, shape, device) for p in chosen])
        path = rollout(
            generator,
            noise,
            condition,
            negative,
            steps=sampling.denoising_steps,
            guidance=sampling.guidance,
            keep=keep,
            flow_shift=sampling.flow_shift,
            generators=step_generators(chosen, seed + step),
        )
        latents = path.latents.detach().requires_grad_(True)
        scored, _ = decode_views(generator, decoder, render, latents, chosen, views, rewards.needs)
        total, parts = rewards(scored)
        every = sampling.term_gradients_every
        norms = term_gradient_norms(rewards.weights, parts, latents) if every and step % every == 0 else {}
        (gradient,) = torch.autograd.grad(-total.mean(), latents)
        backpropagate(generator, path, gradient, condition, negative, sampling.guidance)
        generative = _generative_loss(generator, embed, clips, sampling, random, device)
        logged = {f"reward/{name}": value.detach().mean() for name, value in parts.items()}
        logged |= {f"reward_gradient/{name}": norm for name, norm in norms.items()}
        logged |= {
            **watched,
            "reward/total": total.detach().mean(),
            "reward_gradient_norm": gradient.norm(),
            "generative_loss": generative.detach(),
        }
        return sampling.generative_weight * generative, logged

    TrainingLoop({"transformer": denoiser}, loop, checkpoint).run(step_loss, log)


def _generative_loss(
    generator: VideoGenerator,
    embed: Embed,
    clips: Sequence[Clip],
    sampling: AlignSampling,
    random: torch.Generator,
    device: torch.device,
) -> Float[Tensor, ""]:
    """The generator's own training loss on curated clips, noise levels uniform in (0, 1)."""
    chosen = torch.randint(len(clips), (sampling.clips_per_step,), generator=random).tolist()
    shortest = min(len(clips[i].frames) for i in chosen)
    with torch.no_grad():
        frames = torch.stack([clips[i].frames[:shortest] for i in chosen]).to(device)
        clean = generator.normalise(generator.encode(frames))
        condition = embed([clips[i].caption for i in chosen])
    noise = torch.randn(clean.shape, generator=random).to(device)
    level = torch.rand(len(clean), generator=random).to(device)
    pair = generator.training_pair(clean, noise, level)
    return (generator.prediction(pair.noisy, pair.timesteps, condition) - pair.target).square().mean()
