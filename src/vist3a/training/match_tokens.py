"""First round of distillation: the stitched decoder learns to give the original network's tokens at one point.

Only the blocks between the stitch point and that point are run, and neither the latents nor the target tokens change while
training, so both are computed once. Not in the paper, which trains on outputs only: there every step pays for the video
encoder, for two whole networks and for their dense heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vist3a.models.generators.base import VideoGenerator
from vist3a.models.reconstruction.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.training.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.training.progress import progress
from vist3a.training.sensitivity import gauss_newton, metric_root
from vist3a.training.step_log import Log

BLOCK = 8
"""Clips encoded at once."""

PROBES = 2
"""Random projections of every output per clip; each gives one sample per token."""


@dataclass(frozen=True)
class MatchTokensConfig:
    """Tokens at ``point`` of ``batch`` clips are compared per step.

    ``views`` runs only as many random views of each clip (None: all), for points in the encoder, where views do not meet: more
    clips for the same work, and views of one clip are alike.
    ``sensitivity`` in [0, 1) is the share of the weight that token errors get by what they do to the network's outputs (see
    :mod:`training.sensitivity`, measured on ``sensitivity_clips`` clips); the rest is equal for all directions.
    ``mirror`` adds every clip flipped left to right, played backwards, and both: other latents, at no cost in data.
    """

    point: str
    batch: int
    mirror: bool = True
    views: int | None = None
    sensitivity: float = 0.0
    sensitivity_clips: int = 8


@dataclass(frozen=True)
class TokenTargets:
    """Raw latents of clips of one length and size, and the original network's patch tokens for them."""

    latents: Float[Tensor, "clips channels times rows columns"]
    tokens: Float[Tensor, "clips views height width dim"]


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
    latents, tokens = [], []
    blocks = range(0, len(clips), BLOCK)
    for start in progress(blocks, "prepare distillation", len(blocks)):
        frames = torch.stack([clip.frames[:shortest] for clip in clips[start : start + BLOCK]]).to(device)
        variants = [frames]
        if config.mirror:
            variants += [frames.flip(-1), frames.flip(1), frames.flip(1).flip(-1)]
        for variant in variants:
            latents.append(generator.encode(variant))
            tokens.append(teacher.tokens_at([config.point], variant)[config.point].patch_tokens)
    return TokenTargets(torch.cat(latents), torch.cat(tokens))


def match_tokens(
    student: StitchedDecoder,
    teacher: ReconstructionModel,
    generator: VideoGenerator,
    clips: Sequence[Clip],
    loop: LoopConfig,
    config: MatchTokensConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    log: Log | None = None,
) -> None:
    """Train those parameters of ``student`` that require gradients and lie before ``config.point``, in place.

    ValueError when the stitch point does not lie before ``config.point``, or when this is not in the encoder and ``config.views``
    asks for a part of the views.
    """
    if not clips:
        raise ValueError("distillation needs at least one clip in the fit split")
    names = [point.name for point in student.network.stitch_points]
    if names.index(student.network.stitch_point(config.point).name) <= names.index(student.point):
        raise ValueError(
            f"distill.match.point: {config.point} does not lie behind the stitch point {student.point}; allowed: "
            f"{', '.join(names[names.index(student.point) + 1 :])}"
        )
    if config.views is not None and student.network.stitch_point(config.point).kind != "encoder":
        raise ValueError(f"distill.match.views: {config.views}, but views meet before {config.point}; allowed: null")
    device = next(student.parameters()).device
    size = teacher.frame_size(clips[0].frames.shape[-2], clips[0].frames.shape[-1])
    targets = token_targets(teacher, generator, clips, config, device)
    scale = targets.tokens.std()
    root = None
    if config.sensitivity > 0:
        seen = clips[: config.sensitivity_clips]
        measured = gauss_newton(teacher, seen, config.point, device, probes=PROBES, seed=seed)
        root = metric_root(measured, config.sensitivity).to(targets.tokens.dtype)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        generator = step_generator(seed, step)
        rows = torch.randint(len(targets.latents), (config.batch,), generator=generator).to(device)
        state, wanted = student.state(targets.latents[rows]), targets.tokens[rows]
        if config.views is not None:
            views = torch.randperm(wanted.shape[1], generator=generator)[: config.views].to(device)
            state = replace(
                state, patch_tokens=state.patch_tokens[:, views], special_tokens=state.special_tokens[:, views]
            )
            wanted = wanted[:, views]
        _, states = student.network.run_from(state, size, keep=[config.point], until=config.point)
        error = (states[config.point].patch_tokens - wanted) / scale
        if root is not None:
            error = error @ root
        loss = functional.smooth_l1_loss(error, torch.zeros_like(error))
        return loss, {"tokens": loss.detach()}

    TrainingLoop({"student": student}, loop, checkpoint).run(step_loss, log)
