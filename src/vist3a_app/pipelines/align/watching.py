"""The watch over a generator as the parameters want it."""

from __future__ import annotations

from pathlib import Path

import torch

from vist3a.alignment.align_draw import middle_guidance, middle_steps
from vist3a.alignment.drift import DriftConfig
from vist3a.alignment.watch import Watch, WatchConfig, watch_generator
from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.records.condition import Embed
from vist3a.rendering import renderer_for
from vist3a.runtime.picture_log import picture_log
from vist3a.sampling.sampling import SamplingConfig
from vist3a.stitching.decoder import StitchedDecoder
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.reward_models import RewardModels


def watch_over(
    params: AlignParams,
    generator: VideoGenerator,
    embed: Embed,
    decoder: StitchedDecoder,
    models: RewardModels,
    prompts: list[str],
    negative: Condition,
    device: torch.device,
    path: Path,
) -> Watch:
    """On the first prompts, at the middle of ranges, so that all looks are alike."""
    steps, guidance = middle_steps(params.denoising_steps), middle_guidance(params.guidance)
    return watch_generator(
        generator,
        embed,
        decoder,
        renderer_for(device),
        models.watched,
        prompts[: params.watch.prompts],
        SamplingConfig(
            steps=steps,
            guidance=guidance,
            frames=params.frames,
            height=params.height,
            width=params.width,
            flow_shift=params.flow_shift,
        ),
        WatchConfig(
            params.watch.judge_every, params.watch.previews_every, DriftConfig(window=params.watch.drift_window)
        ),
        seed=params.seed,
        device=device,
        negative=negative,
        path=path,
        pictures=picture_log("align/preview"),
    )
