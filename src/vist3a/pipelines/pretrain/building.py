"""What the pretraining nodes share: banks, loop settings, numeric types, and the training of a scorer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from vist3a.engine.device import resolve_device
from vist3a.pipelines.loop import Loop
from vist3a.pipelines.pretrain.params import Bank, PretrainParams, Scorer
from vist3a.training.loop import LoopConfig
from vist3a.training.pretrain.scene_bank import BankConfig, SceneBank
from vist3a.training.step_log import step_log

logger = logging.getLogger(__name__)

Save = Callable[[Path], None]


def fit_scorer(params: PretrainParams, settings: Scorer, checkpoint: Path) -> Save:
    """Train a text-image scorer; a function that writes its folder."""
    from vist3a.models.scorers import DualEncoder, DualEncoderConfig
    from vist3a.scenes.procedural import VOCABULARY
    from vist3a.training.pretrain.scorers import train_scorer

    torch.manual_seed(settings.seed)
    model = DualEncoder(DualEncoderConfig.from_dict({"vocabulary": VOCABULARY, **settings.architecture}))
    bank = make_bank(params, settings.bank, settings.seed)
    finished = train_scorer(
        model,
        bank,
        loop_config(settings.loop),
        batch=settings.batch,
        frames=params.frames,
        seed=settings.seed,
        checkpoint=checkpoint,
        log=step_log(checkpoint.stem),
        max_seconds=params.max_seconds,
    )
    report_end(finished, checkpoint.stem)
    return lambda folder: model.save_pretrained(folder, storage_dtype(params))


def make_bank(params: PretrainParams, bank: Bank, seed: int, with_depth: bool = False) -> SceneBank:
    """A bank of rendered scenes on the training device."""
    config = BankConfig(
        frames=params.frames, height=params.size, width=params.size, with_depth=with_depth, **bank.model_dump()
    )
    return SceneBank(config, seed, resolve_device(params.device))


def loop_config(loop: Loop) -> LoopConfig:
    """Loop settings of the domain from the parameters."""
    return LoopConfig(**loop.model_dump())


def compiles(params: PretrainParams, device: torch.device) -> bool:
    """Whether networks are compiled: on CUDA unless told otherwise."""
    return params.compile == "yes" or (params.compile == "auto" and device.type == "cuda")


def storage_dtype(params: PretrainParams) -> torch.dtype:
    """Numeric type of the written weights."""
    return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[params.storage]


def report_end(finished: bool, what: str) -> None:
    """Say so when a training was cut short."""
    if not finished:
        logger.warning("%s: stopped by max_seconds before its last step; run the pipeline again to go on", what)
