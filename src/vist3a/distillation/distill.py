"""Finetuning of the stitched decoder on the original network's own outputs. The video encoder and the teacher stay frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vist3a.distillation.color_jitter import Ranges, color_jitter
from vist3a.distillation.distill_loss import DistillWeights, distill_terms, feature_distance, weighted
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.step_log import Log
from vist3a.stitching.decoder import StitchedDecoder


@dataclass(frozen=True)
class DistillSampling:
    """What a step sees: ``batch`` clips, cut to a random one of ``views`` (numbers that the generator takes; at most the clip's).

    ``mirror`` flips a random half of the clips left to right, and plays a random half backwards.
    Inner states at the points ``features`` are compared in every step, the heads' outputs in every ``heads_every``-th.
    ``color_jitter`` changes the colors of every clip, for student and teacher alike (see :func:`color_jitter`). With
    ``sample_latents`` the student sees a sample of the video encoder's posterior instead of its mode.
    """

    batch: int
    views: tuple[int, ...]
    features: tuple[str, ...] = ()
    heads_every: int = 1
    mirror: bool = False
    color_jitter: Ranges | None = None
    sample_latents: bool = False


def distill(
    student: StitchedDecoder,
    teacher: ReconstructionModel,
    generator: VideoGenerator,
    clips: Sequence[Clip],
    loop: LoopConfig,
    weights: DistillWeights,
    sampling: DistillSampling,
    *,
    seed: int,
    checkpoint: Path | None = None,
    log: Log | None = None,
) -> None:
    """Train the parameters of ``student`` that require gradients, in place; both networks stop fusing Gaussians."""
    if not clips:
        raise ValueError("distillation needs at least one clip in the fit split")
    for network in (student.network, teacher):
        network.one_gaussian_per_pixel()
    device = next(student.parameters()).device
    names = [point.name for point in student.network.stitch_points]
    # States before the entry do not exist in the student.
    points = [name for name in sampling.features if names.index(name) > names.index(student.point)]

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        random = step_generator(seed, step)
        frames = _batch(clips, sampling, random).to(device)
        size = teacher.frame_size(frames.shape[-2], frames.shape[-1])
        with torch.no_grad():
            latents = generator.encode(frames, _noise(random, device) if sampling.sample_latents else None)
            target_taps, target_states = teacher.trunk(frames, keep=points)
        taps, states = student.network.run_from(student.state(latents), size, keep=points)
        terms = {"features": feature_distance(states, target_states)} if points else {}
        if step % sampling.heads_every == 0:
            with torch.no_grad():
                target = teacher.heads(target_taps, size, frames)
            terms |= distill_terms(student.network.heads(taps, size, frames), target, weights)
        return weighted(terms, weights), {name: term.detach() for name, term in terms.items()}

    TrainingLoop({"student": student}, loop, checkpoint).run(step_loss, log)


def _batch(clips: Sequence[Clip], sampling: DistillSampling, generator: torch.Generator) -> Tensor:
    """A batch of clips cut to one common number of views, at a random offset each."""
    chosen = torch.randint(len(clips), (sampling.batch,), generator=generator).tolist()
    shortest = min(len(clips[i].frames) for i in chosen)
    allowed = [v for v in sampling.views if v <= shortest] or [shortest]
    views = allowed[int(torch.randint(len(allowed), (), generator=generator))]
    cut = []
    for i in chosen:
        first = int(torch.randint(len(clips[i].frames) - views + 1, (), generator=generator))
        part = clips[i].frames[first : first + views]
        if sampling.mirror:
            flips = [axis for axis in (0, -1) if bool(torch.rand((), generator=generator) < 0.5)]
            part = part.flip(flips)
        if sampling.color_jitter is not None:
            part = color_jitter(part, sampling.color_jitter, generator)
        cut.append(part)
    return torch.stack(cut)


def _noise(random: torch.Generator, device: torch.device) -> torch.Generator:
    """What the posterior is sampled with, on its device."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=random)))
