"""Thin nodes: load the stored networks, measure, lay out pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vist3a.export.video import image_sheet
from vist3a.pairing import load_generator, load_reconstruction
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.sampling.sampling import SamplingConfig
from vist3a_lab import validation
from vist3a_lab.pipelines.pretrain.params import PretrainParams
from vist3a_lab.pipelines.validate_embedded.params import ValidateEmbeddedParams
from vist3a_lab.procedural import WorldConfig
from vist3a_lab.scorers import DualEncoder

RETRIEVAL_SIZE = 64
Figures = dict[str, dict[str, float]]


def measure_geometry(
    params: ValidateEmbeddedParams, pretrain: PretrainParams, generator: Path, reconstruction: Path
) -> tuple[Figures, Tensor]:
    """Figures, and a sheet of the best and the worst scenes: given view, decoded copy, held-out view, its rendering."""
    device = resolve_device(pretrain.device)
    figures = validation.measure_geometry(
        load_generator(
            "wan",
            str(generator),
            revision=None,
            parts=("vae",),
            dtype="float32",
            max_text_tokens=pretrain.denoiser.max_text_tokens,
            device=device,
        ),
        load_reconstruction("anysplat", str(reconstruction), dtype="float32", device=device),
        renderer_for(device),
        _world(params, pretrain),
        params.scenes,
        device,
    )
    order = figures.by_novel_view()
    count = min(params.pictures, len(order))
    shown = [*order[:count], *order[-count:]]
    return figures.summary(), image_sheet(torch.cat([figures.pictures[i] for i in shown]), columns=8)


def measure_text(
    params: ValidateEmbeddedParams, pretrain: PretrainParams, generator: Path, reward_scorer: Path, judge_folder: Path
) -> tuple[Figures, Tensor]:
    """Figures, and a sheet with a row per task: the first clips judged right, then the first judged wrong."""
    device = resolve_device(pretrain.device)
    judge = DualEncoder.from_pretrained(judge_folder, device)
    world = _world(params, pretrain)
    figures = validation.measure_text(
        load_generator(
            "wan",
            str(generator),
            revision=None,
            parts=("vae", "text", "denoiser"),
            dtype="float32",
            max_text_tokens=pretrain.denoiser.max_text_tokens,
            device=device,
        ),
        judge,
        world,
        SamplingConfig(
            steps=params.steps,
            guidance=params.guidance,
            frames=pretrain.frames,
            height=pretrain.size,
            width=pretrain.size,
        ),
        params.prompts,
        params.batch,
        device,
    )
    scorers = {"scorer": DualEncoder.from_pretrained(reward_scorer, device), "judge": judge}
    found = validation.measure_retrieval(scorers, world, params.retrieval_groups, RETRIEVAL_SIZE, device)
    retrieval = {name: {f"retrieval_top1_of_{RETRIEVAL_SIZE}": value} for name, value in found.items()}
    own = {"accuracy_true_renders": sum(figures.judge.values()) / len(figures.judge)}
    rows = []
    for samples in figures.samples.values():
        # White where there are too few of a verdict.
        blank = torch.ones_like(samples[0][2])
        for verdict in (True, False):
            frames = [frame for _, right, frame in samples if right == verdict][: params.pictures]
            rows += frames + [blank] * (params.pictures - len(frames))
    return {
        "text": figures.generated,
        "scorer": retrieval["scorer"],
        "judge": {**retrieval["judge"], **own, **figures.judge},
    }, image_sheet(torch.stack(rows), columns=2 * params.pictures)


def merge_figures(geometry: Figures, text: Figures) -> dict[str, Any]:
    """One report."""
    return {**geometry, **text}


def _world(params: ValidateEmbeddedParams, pretrain: PretrainParams) -> WorldConfig:
    size = pretrain.size
    return WorldConfig(
        seed=params.seed, frames=pretrain.frames, extra_views=params.extra_views, height=size, width=size
    )
