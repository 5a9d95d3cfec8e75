"""Thin nodes: train and measure every variant of every seed, report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.networks import Networks
from vist3a_lab.pipelines.alignment_study.params import AlignmentStudyParams
from vist3a_lab.pipelines.alignment_study.parts import STATE, Study
from vist3a_lab.pipelines.heldout_prompts import heldout_prompts
from vist3a_lab.studies.alignment_study import VARIANTS, report_by_kind, report_of, variant_weights
from vist3a_lab.world import ProceduralWorld


def measure_variants(
    params: AlignmentStudyParams,
    align: AlignParams,
    networks: Networks,
    stitched_decoder: Path,
    clips: Path,
    clip_index: pd.DataFrame,
    checkpoints: Path,
    text_embeddings: Path,
) -> dict[str, Any]:
    """One value per held-out prompt, by seed, variant and figure."""
    study = Study(params, align, networks, stitched_decoder, clips, clip_index, checkpoints, text_embeddings)
    return {str(seed): {variant: study.figures(seed, variant) for variant in VARIANTS} for seed in params.seeds}


def report_variants(params: AlignmentStudyParams, align: AlignParams, figures: dict[str, Any]) -> dict[str, Any]:
    """Tables and statement."""
    weights = {variant: variant_weights(align.weights(True), variant) for variant in VARIANTS[1:]}
    about = params.model_dump(exclude={"judge"}) | {
        "prompts_per_step": align.prompts_per_step,
        "clips_per_step": align.clips_per_step,
        "gradient_steps": align.gradient_steps,
        "guidance": align.middle_sampling().guidance,
        "generative_weight": align.generative_weight,
        "weights": weights,
    }
    world = ProceduralWorld()
    kinds = {
        str(seed): [
            world.kinds(text) for text in heldout_prompts(align, seed, params.heldout_seed + seed, params.prompts)
        ]
        for seed in params.seeds
    }
    return {"about": about, **report_of(figures, params.heldout_seed), "kinds": report_by_kind(figures, kinds)}


def forget_parts(page: str, checkpoints: Path) -> None:
    """The page stands, so the kept parts go: other code would not make them anew."""
    shutil.rmtree(checkpoints / STATE, ignore_errors=True)
