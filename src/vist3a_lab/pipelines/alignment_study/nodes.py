"""Thin nodes: train and measure every variant of every seed, report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.networks import Networks
from vist3a_lab.pages.frontier_chart import frontier_chart
from vist3a_lab.pipelines.alignment_study.params import AlignmentStudyParams
from vist3a_lab.pipelines.alignment_study.parts import STATE, Study
from vist3a_lab.pipelines.heldout_prompts import heldout_prompts
from vist3a_lab.pipelines.made_on import made_on
from vist3a_lab.studies.alignment_bars import MOTION_KEPT, TRUE_CLIPS
from vist3a_lab.studies.alignment_study import (
    BESIDE,
    OPTIMISED,
    VARIANTS,
    report_by_kind,
    report_of,
    variant_weights,
)
from vist3a_lab.studies.film_scores import DIVERSITY
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
    """One value per held-out prompt, by part, seed, variant and figure.

    Processes that share ``checkpoints`` may each take some of the seeds, or call :meth:`Study.figures` for some of the variants;
    one that takes all of them then only reports.
    """
    study = Study(params, align, networks, stitched_decoder, clips, clip_index, checkpoints, text_embeddings)
    study.check()
    found: dict[str, Any] = {"scores": {}, DIVERSITY: {}, "films": {}}
    for seed in params.seeds:
        measured = {variant: study.figures(seed, variant) for variant in VARIANTS}
        for part in ("scores", DIVERSITY):
            found[part][str(seed)] = {variant: one[part] for variant, one in measured.items()}
        found["films"][str(seed)] = {TRUE_CLIPS: study.true_clips(seed)["films"]}
        if params.beside is not None:
            found["films"][str(seed)][BESIDE] = study.beside(seed)["films"]
    return found


def report_variants(
    params: AlignmentStudyParams, align: AlignParams, networks: Networks, figures: dict[str, Any]
) -> tuple[dict[str, Any], Any]:
    """Tables and statement, and the picture of motion against re-rendering."""
    given = align.weights(True)
    weights = {variant: variant_weights(given, variant, params.camera_motion) for variant in OPTIMISED}
    about = params.model_dump(exclude={"judge", "beside", "batch"}) | {
        "device": made_on(networks.device),
        "motion": align.motion,
        "diversity_held": align.diversity if align.rewards.diversity else None,
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
    found = report_of(figures, params.heldout_seed)
    report = {"about": about, **found, "kinds": report_by_kind(figures["scores"], kinds)}
    return report, frontier_chart(report["films"], MOTION_KEPT)


def forget_parts(page: str, checkpoints: Path) -> None:
    """The page stands, so the kept parts go: other code would not make them anew."""
    shutil.rmtree(checkpoints / STATE, ignore_errors=True)
