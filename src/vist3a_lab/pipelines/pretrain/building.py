"""What the pretraining nodes share: banks, loop settings, numeric types, and the training of a scorer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vist3a.runtime.device import resolve_device
from vist3a.runtime.step_log import step_log
from vist3a_lab.pipelines.pretrain.params import Denoiser, PretrainParams, Reconstruction, Scorer, Vae
from vist3a_lab.pretraining.bank_size import BankSize
from vist3a_lab.pretraining.scene_bank import BankConfig, SceneBank
from vist3a_lab.procedural.unsteady import UnsteadyConfig

logger = logging.getLogger(__name__)

Save = Callable[[Path], None]
Settings = Vae | Reconstruction | Scorer | Denoiser
RECORD = "training.json"


def fit_scorer(params: PretrainParams, settings: Scorer, checkpoint: Path) -> Save:
    """Train a text-image scorer; a function that writes its folder."""
    from vist3a_lab.pretraining.scorers import train_scorer
    from vist3a_lab.procedural import VOCABULARY
    from vist3a_lab.scorers import DualEncoder, DualEncoderConfig

    # The initial weights are drawn from the global generator.
    torch.manual_seed(settings.seed)
    model = DualEncoder(DualEncoderConfig.from_dict({"vocabulary": VOCABULARY, **settings.architecture}))
    bank = make_bank(params, settings.bank, settings.seed)
    steps = train_scorer(
        model,
        bank,
        settings.loop,
        batch=settings.batch,
        frames=params.frames,
        seed=settings.seed,
        checkpoint=checkpoint,
        log=step_log(checkpoint.stem),
        max_seconds=params.max_seconds,
    )
    return with_record(lambda folder: model.save_pretrained(folder, storage_dtype(params)), settings, steps)


def make_bank(
    params: PretrainParams,
    bank: BankSize,
    seed: int,
    with_depth: bool = False,
    unsteady: UnsteadyConfig | None = None,
) -> SceneBank:
    """A bank of rendered scenes on the training device."""
    config = BankConfig(
        frames=params.frames,
        height=params.size,
        width=params.size,
        with_depth=with_depth,
        unsteady=unsteady,
        **asdict(bank),
    )
    return SceneBank(config, seed, resolve_device(params.device))


def compiles(params: PretrainParams, device: torch.device) -> bool:
    """Whether networks are compiled: on CUDA unless told otherwise."""
    return device.type == "cuda" if params.compile == "auto" else params.compile


def storage_dtype(params: PretrainParams) -> torch.dtype:
    """Numeric type of the written weights."""
    return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[params.storage]


def with_record(save: Save, settings: Settings, steps: int) -> Save:
    """Let ``save`` also write ``training.json``: the seed, the steps done and those planned. Warns of a training cut short."""
    planned = settings.loop.steps
    if steps < planned:
        logger.warning("stopped by max_seconds at step %d of %d; run the pipeline again to go on", steps, planned)

    def write(folder: Path) -> None:
        save(folder)
        record: dict[str, Any] = {"seed": settings.seed, "steps": steps, "planned_steps": planned}
        # The record of the weights that it began from, so that their whole history is told.
        if not isinstance(settings, Scorer) and settings.start is not None:
            record["start"] = json.loads((Path(settings.start) / RECORD).read_text(encoding="utf-8"))
        record["torch"] = torch.__version__
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    return write
