"""First round of distillation: the stitched decoder learns to give the original network's tokens at one point.

Only the blocks between the stitch point and that point are run, and neither the latents nor the target tokens change while
training, so both are computed once. Not in the paper, which trains on outputs only: there every step pays for the video
encoder, for two whole networks and for their dense heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import MinLen
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vist3a.distillation.latent_noise import LatentNoise, with_noise
from vist3a.distillation.sensitivity import OUTPUTS, Output, gauss_newton, metric_root
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.runtime.bounds import BelowOne, NotNegative, Positive
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.progress import progress
from vist3a.runtime.step_log import Log
from vist3a.stitching.decoder import StitchedDecoder

BLOCK = 8
"""Clips encoded at once."""

PROBES = 2
"""Random projections of every output per clip; each gives one sample per token."""


@dataclass(frozen=True, kw_only=True)
class MatchTokensConfig:
    """Which tokens are compared, and how they are weighed.

    Attributes:
        point: Stitch point whose tokens are the goal.
        batch: Clips per step.
        inner: Stitch points on the way that are matched, too, all directions alike: every block then has a near goal.
        inner_weight: What they weigh together.
        early: For this share of the steps, the first ones, they are the only goals, and no block behind the last of them is run:
            later blocks would learn from what is still wrong.
        mirror: Every clip is also seen flipped left to right: other latents, at no cost in data.
        views: Random views that are run of each clip (None: all), for points in the encoder, where views do not meet: more clips
            for the same work, and views of one clip are alike.
        sensitivity: Share of the weight that token errors get by what they do to the network's outputs (see
            :mod:`vist3a.distillation.sensitivity`); the rest is equal for all directions.
        sensitivity_clips: Clips that it is measured on.
        sensitive: Outputs that count.
        noise: What is added to the latents that the student sees; None: nothing.
        loop: The training.
    """

    point: str
    batch: Positive
    inner: tuple[str, ...] = ()
    inner_weight: NotNegative = 0.5
    early: BelowOne = 0.0
    mirror: bool = True
    views: Positive | None = None
    sensitivity: BelowOne = 0.0
    sensitivity_clips: Positive = 8
    sensitive: Annotated[tuple[Output, ...], MinLen(1)] = OUTPUTS
    noise: LatentNoise | None = None
    loop: LoopConfig


@dataclass(frozen=True)
class TokenTargets:
    """Raw latents of clips of one length and size, and the original network's patch tokens for them."""

    latents: Float[Tensor, "clips channels times rows columns"]
    tokens: Mapping[str, Float[Tensor, "clips views height width dim"]]
    """By stitch point."""


@torch.no_grad()
def token_targets(
    teacher: ReconstructionModel,
    generator: VideoGenerator,
    clips: Sequence[Clip],
    config: MatchTokensConfig,
    device: torch.device,
) -> TokenTargets:
    """Everything the round needs, on ``device``; clips longer than the shortest one are cut at its length."""
    shortest = min(len(clip.frames) for clip in clips)
    points = (*config.inner, config.point)
    latents, tokens = [], []
    blocks = range(0, len(clips), BLOCK)
    for start in progress(blocks, "prepare distillation", len(blocks)):
        frames = torch.stack([clip.frames[:shortest] for clip in clips[start : start + BLOCK]]).to(device)
        # Mirrored frames are encoded anew: the latents of a mirrored clip are not mirrored latents.
        variants = [frames]
        if config.mirror:
            variants.append(frames.flip(-1))
        for variant in variants:
            latents.append(generator.encode(variant))
            tokens.append(teacher.tokens_at(points, variant))
    return TokenTargets(
        torch.cat(latents), {point: torch.cat([seen[point].patch_tokens for seen in tokens]) for point in points}
    )


def match_tokens(
    student: StitchedDecoder,
    teacher: ReconstructionModel,
    generator: VideoGenerator,
    clips: Sequence[Clip],
    config: MatchTokensConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    log: Log | None = None,
) -> None:
    """Train those parameters of ``student`` that require gradients and lie before ``config.point``, in place.

    ValueError when the stitch point does not lie before ``config.point`` and ``config.inner`` between them, or when
    views meet before ``config.point`` and ``config.views`` asks for a part of them.
    """
    names = [point.name for point in student.network.stitch_points]
    behind = names[names.index(student.point) + 1 :]
    goal = student.network.stitch_point(config.point).name
    if goal not in behind:
        raise ValueError(
            f"distill.match.point: {config.point} does not lie behind the stitch point {student.point}; allowed: "
            f"{', '.join(behind)}"
        )
    before = names[: names.index(goal)]
    inner = {student.network.stitch_point(point).name for point in config.inner}
    if late := inner.difference(before):
        raise ValueError(
            f"distill.match.inner: {', '.join(sorted(late))} does not lie before {goal}; allowed: {', '.join(before)}"
        )
    # A later stitch point leaves fewer blocks to be matched.
    config = replace(config, inner=tuple(name for name in behind if name in inner))
    if config.views is not None and not student.network.stitch_point(config.point).per_view:
        raise ValueError(f"distill.match.views: {config.views}, but views meet before {config.point}; allowed: null")
    device = next(student.parameters()).device
    size = teacher.frame_size(clips[0].frames.shape[-2], clips[0].frames.shape[-1])
    targets = token_targets(teacher, generator, clips, config, device)
    # Errors in units of the teacher's spread, or the point with the largest tokens would outweigh all others.
    scales = {point: tokens.std() for point, tokens in targets.tokens.items()}
    root = None
    # The metric is measured once: the teacher stays as it is.
    if config.sensitivity > 0:
        seen = clips[: config.sensitivity_clips]
        measured = gauss_newton(teacher, seen, config.point, device, probes=PROBES, seed=seed, outputs=config.sensitive)
        root = metric_root(measured, config.sensitivity).to(targets.latents.dtype)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        generator = step_generator(seed, step)
        rows = torch.randint(len(targets.latents), (config.batch,), generator=generator).to(device)
        count = targets.tokens[config.point].shape[1]
        views = (
            torch.arange(count) if config.views is None else torch.randperm(count, generator=generator)[: config.views]
        )
        views = views.to(device)
        latents = with_noise(targets.latents[rows], config.noise, generator)
        state = student.state(latents, None if config.views is None else views)
        # While they are the only goals, no block behind the last of them is run.
        points = (
            config.inner if config.inner and step < config.early * config.loop.steps else (*config.inner, config.point)
        )
        _, states = student.network.run_from(state, size, keep=points, until=points[-1])
        errors = {
            point: (states[point].patch_tokens - targets.tokens[point][rows[:, None], views]) / scales[point]
            for point in points
        }
        terms: dict[str, Tensor] = {}
        if config.point in errors:
            # A root of the metric turns weighted lengths into plain ones.
            last = errors.pop(config.point)
            terms["tokens"] = _distance(last if root is None else last @ root)
        if errors:
            terms["inner"] = config.inner_weight * torch.stack([_distance(error) for error in errors.values()]).mean()
        return torch.stack(list(terms.values())).sum(), terms

    TrainingLoop({"student": student}, config.loop, checkpoint).run(step_loss, log)


def _distance(error: Tensor) -> Tensor:
    return functional.smooth_l1_loss(error, torch.zeros_like(error))
