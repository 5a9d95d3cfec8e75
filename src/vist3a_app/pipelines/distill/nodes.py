"""Stitch layer -> finetuned stitched decoder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pandas as pd

from vist3a.data.clip_store import ClipStore
from vist3a.distillation.distill import DistillSettings, distill
from vist3a.distillation.harm import judge
from vist3a.runtime.device import resolve_device
from vist3a.runtime.run_folder import run_folder
from vist3a.runtime.step_log import step_log
from vist3a.stitching.artifact import save_decoder
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import averaged, clip_distances, compared, stitched
from vist3a.stitching.store import load_fit
from vist3a.stitching.tuning import prepare, put_back, trained_parameters
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.networks import Networks

logger = logging.getLogger(__name__)

FEW_CLIPS = 32
"""With fewer to learn from, distillation has been seen to do harm (two real clips: depth a third worse)."""


def distill_decoder(
    params: DistillParams,
    networks: Networks,
    stitch_layer: Path,
    clips: Path,
    clip_index: pd.DataFrame,
    checkpoints: Path,
) -> tuple[Callable[[Path], None], dict[str, Any]]:
    """The trained decoder, and its distance to the original network on held-out clips before and after."""
    device = resolve_device(networks.device)
    generator, teacher = networks.load_generator("vae"), networks.load_reconstruction()
    fit, spec = load_fit(stitch_layer)
    decoder = StitchedDecoder(networks.load_reconstruction(), spec, fit).to(device)
    prepare(decoder, params.tuning, params.lora_rank, params.lora_alpha)
    decoder.network.gradient_checkpointing = params.gradient_checkpointing
    store = ClipStore(clips, clip_index)
    heldout = [store.load(name) for name in store.names("heldout")[: params.measured_clips]]
    state = run_folder(
        checkpoints, "distill", params.model_dump_json(), networks.model_dump_json(), stitch_layer, clip_index.to_json()
    )
    fit_clips = store.load_split("fit")
    if len(fit_clips) < FEW_CLIPS:
        logger.warning(
            "distillation has %d clips to learn from and may end worse than it began; some hundred are wanted, and what is "
            "worse on the held-out clips is not kept",
            len(fit_clips),
        )

    def measured() -> dict[str, list[float]]:
        return clip_distances(
            {"": stitched(decoder, generator)}, teacher, heldout, device, batch=params.measured_batch
        )[""]

    # The closed form, kept to go back to.
    before, start = measured(), trained_parameters(decoder)
    distill(decoder, teacher, generator, fit_clips, params.part(DistillSettings), folder=state, logs=step_log)
    after = measured()
    # Trained and measured: there is nothing to resume any more.
    shutil.rmtree(state, ignore_errors=True)
    verdict = judge(averaged(before, fmean), averaged(after, fmean))
    # What the chain hands on is never worse than the closed form.
    if not verdict.better:
        put_back(decoder, start)
    if verdict.worse:
        logger.warning("distillation made %s worse on held-out clips; kept: %s", ", ".join(verdict.worse), verdict.kept)
    report = {
        "stitch_layer": fit.point,
        "clips": len(heldout),
        "fit_clips": len(fit_clips),
        "kept": verdict.kept,
        "worse": list(verdict.worse),
        **compared(before, after, fmean),
        # A few clips whose objects are read as sky or ground carry much of the mean.
        "median": compared(before, after, median),
    }
    how = (networks.pairing, params.tuning, params.lora_rank, params.lora_alpha)
    return lambda folder: save_decoder(folder, decoder, stitch_layer, *how), report
