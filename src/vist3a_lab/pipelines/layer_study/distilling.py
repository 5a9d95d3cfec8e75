"""Distillation of one point in the rounds that typed parameters describe."""

from __future__ import annotations

from vist3a.distillation.distill import distill
from vist3a.distillation.distill_loss import DistillWeights
from vist3a.distillation.match_tokens import MatchTokensConfig, match_tokens
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.runtime.loop import LoopConfig
from vist3a.runtime.step_log import Log
from vist3a.stitching.decoder import StitchedDecoder
from vist3a_app.pipelines.distill.params import DistillParams


def run_rounds(
    decoder: StitchedDecoder,
    teacher: ReconstructionModel,
    generator: VideoGenerator,
    clips: list[Clip],
    params: DistillParams,
    log: Log,
) -> None:
    """Train a prepared decoder in place: tokens first, then outputs, as far as ``params`` ask for them."""
    if params.match is not None:
        match = MatchTokensConfig(**params.match.model_dump(exclude={"loop"}))
        steps = LoopConfig(**params.match.loop.model_dump())
        match_tokens(decoder, teacher, generator, clips, steps, match, seed=params.seed, log=log)
    if params.loop is not None:
        weights, steps = DistillWeights(**params.weights.model_dump()), LoopConfig(**params.loop.model_dump())
        distill(decoder, teacher, generator, clips, steps, weights, params.sampling(), seed=params.seed, log=log)
