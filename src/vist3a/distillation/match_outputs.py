"""Second round of distillation: the stitched decoder learns to give the original network's outputs (VIST3A 3.1).

The video encoder and the teacher stay frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from torch import Tensor

from vist3a.distillation.color_jitter import Ranges, color_jitter
from vist3a.distillation.distill_loss import PUBLISHED, DistillWeights, distill_terms, feature_distance, weighted
from vist3a.distillation.latent_noise import LatentNoise, with_noise
from vist3a.distillation.photometric import Photometric, photometric_loss
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.rendering import renderer_for
from vist3a.runtime.bounds import Positive
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.step_log import Log
from vist3a.stitching.decoder import StitchedDecoder


@dataclass(frozen=True, kw_only=True)
class MatchOutputsConfig:
    """What a step sees and compares.

    Attributes:
        batch: Clips per step.
        views: Numbers of views that the generator takes; the clips of a step are cut to a random one of them, at most to
            the length of the shortest.
        features: Stitch points whose inner states are compared in every step.
        heads_every: The heads' outputs are compared in every such step.
        mirror: A random half of the clips is flipped left to right, and a random half is played backwards.
        color_jitter: Largest changes of a clip's colors, for student and teacher alike (see :func:`color_jitter`); None: none.
        latents: Whether the student sees the mode of the video encoder's posterior, or a sample.
        noise: What is added to the latents that the student sees; None: nothing.
        photometric: Renderings of the student against the frames, in the steps of the heads; None: they are not compared.
        weights: Weights of the terms.
        loop: The training; None: the round is left out.
    """

    batch: Positive
    views: Annotated[tuple[Positive, ...], MinLen(1)]
    features: tuple[str, ...] = ()
    heads_every: Positive = 1
    mirror: bool = False
    color_jitter: Ranges | None = None
    latents: Literal["mode", "sample"] = "mode"
    noise: LatentNoise | None = None
    photometric: Photometric | None = None
    weights: DistillWeights = PUBLISHED
    loop: LoopConfig | None


def match_outputs(
    student: StitchedDecoder,
    teacher: ReconstructionModel,
    generator: VideoGenerator,
    clips: Sequence[Clip],
    config: MatchOutputsConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    log: Log | None = None,
) -> None:
    """Train the parameters of ``student`` that require gradients, in place; both networks stop fusing Gaussians."""
    if config.loop is None:
        return
    # Gaussians that are fused per voxel could not be compared one by one.
    for network in (student.network, teacher):
        network.one_gaussian_per_pixel()
    device = next(student.parameters()).device
    if config.photometric is not None and not student.network.has_gaussians:
        raise ValueError("distill.photometric: this 3D network has no Gaussians to render; allowed: null")
    names = [point.name for point in student.network.stitch_points]
    # States before the entry do not exist in the student.
    points = [name for name in config.features if names.index(name) > names.index(student.point)]

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        # Of (seed, step) alone, so that a resumed run sees what the whole one would.
        random = step_generator(seed, step)
        frames = _batch(clips, config, random).to(device)
        size = teacher.frame_size(frames.shape[-2], frames.shape[-1])
        with torch.no_grad():
            latents = generator.encode(frames, _noise(random, device) if config.latents == "sample" else None)
            target_taps, target_states = teacher.trunk(frames, keep=points)
        latents = with_noise(latents, config.noise, random)
        taps, states = student.network.run_from(student.state(latents), size, keep=points)
        terms = {"features": feature_distance(states, target_states)} if points else {}
        rendered: Tensor | None = None
        # The dense heads cost most of a step and add little to what the states say.
        if step % config.heads_every == 0:
            with torch.no_grad():
                target = teacher.heads(target_taps, size, frames)
            found = student.network.heads(taps, size, frames)
            terms |= distill_terms(found, target, config.weights)
            if config.photometric is not None:
                fitted, render = student.network.fit(frames), renderer_for(device)
                rendered = photometric_loss(found, fitted, config.photometric, render, random)
        loss = weighted(terms, config.weights)
        # Against the frames, not the teacher: no weight of distillation.
        if config.photometric is not None and rendered is not None:
            terms["photometric"] = rendered
            loss = loss + config.photometric.weight * rendered
        return loss, {name: term.detach() for name, term in terms.items()}

    TrainingLoop({"student": student}, config.loop, checkpoint).run(step_loss, log)


def _batch(clips: Sequence[Clip], config: MatchOutputsConfig, generator: torch.Generator) -> Tensor:
    """A batch of clips cut to one common number of views, at a random offset each."""
    chosen = torch.randint(len(clips), (config.batch,), generator=generator).tolist()
    shortest = min(len(clips[i].frames) for i in chosen)
    allowed = [v for v in config.views if v <= shortest] or [shortest]
    views = allowed[int(torch.randint(len(allowed), (), generator=generator))]
    cut = []
    for i in chosen:
        first = int(torch.randint(len(clips[i].frames) - views + 1, (), generator=generator))
        part = clips[i].frames[first : first + views]
        if config.mirror:
            # The last axis is the width, the first one time.
            flips = [axis for axis in (0, -1) if bool(torch.rand((), generator=generator) < 0.5)]
            part = part.flip(flips)
        if config.color_jitter is not None:
            part = color_jitter(part, config.color_jitter, generator)
        cut.append(part)
    return torch.stack(cut)


def _noise(random: torch.Generator, device: torch.device) -> torch.Generator:
    """What the posterior is sampled with, on its device."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=random)))
