"""Thin nodes: measure every part of every seed, report."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.evaluate.params import EvaluateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_lab.claims.report import report_of
from vist3a_lab.pages.noise_chart import noise_chart
from vist3a_lab.pipelines.claims.params import ClaimsParams
from vist3a_lab.pipelines.claims.parts import PARTS, judge_of, measured
from vist3a_lab.pipelines.claims.training import STATE, Study, distillation_of, rounds_of
from vist3a_lab.pipelines.made_on import made_on


def measure_claims(
    params: ClaimsParams,
    distill: DistillParams,
    align: AlignParams,
    evaluate: EvaluateParams,
    networks: Networks,
    stitch_layer: Path,
    clips: Path,
    clip_index: pd.DataFrame,
    checkpoints: Path,
    text_embeddings: Path,
) -> dict[str, Any]:
    """One value per scene or prompt, by part, seed, variant and figure.

    Processes that share ``checkpoints`` may each take some of the seeds; one that takes all of them then only reports.
    """
    study = Study(
        params, distill, align, evaluate, networks, stitch_layer, clips, clip_index, checkpoints, text_embeddings
    )
    # Before hours of training: a judge that is missing, or has nothing to say, is told now.
    judge_of(study)
    found: dict[str, Any] = {part: {} for part in PARTS}
    for seed in params.seeds:
        for part in PARTS:
            found[part][str(seed)] = measured(study, seed, part)
    return found


def report_claims(
    params: ClaimsParams,
    distill: DistillParams,
    align: AlignParams,
    networks: Networks,
    figures: dict[str, Any],
    layer_study: dict[str, Any],
) -> tuple[dict[str, Any], Any]:
    """Tables, verdicts, and the picture of noise."""
    grid = networks.load_generator("vae").latent_grid(params.frames, params.height, params.width)
    about = params.model_dump(exclude={"frames", "height", "width"}) | {
        "latent_numbers": math.prod(grid),
        "device": made_on(networks.device),
        "distillation_steps": rounds_of(distillation_of(params, distill)),
        "alignment_steps": params.alignment_steps or align.loop.steps,
    }
    report = {"about": about, **report_of(figures, layer_study, params.heldout_seed)}
    return report, noise_chart(report["noise"])


def forget_parts(page: str, checkpoints: Path) -> None:
    """The page stands, so the kept parts go: other code would not make them anew."""
    shutil.rmtree(checkpoints / STATE, ignore_errors=True)
