"""Prompts -> a generator that samples in few steps (a LoRA of its denoiser, and what goes with it)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a import registry
from vist3a.adapters.lora import add_lora
from vist3a.data.prompt_list import read_prompts
from vist3a.data.world import World, unseen_prompts
from vist3a.runtime.device import resolve_device
from vist3a.runtime.history import History
from vist3a.runtime.launch import Processes
from vist3a.runtime.part_meter import PARTS_LOGGED
from vist3a.runtime.processes import first_one_first, joined
from vist3a.runtime.run_folder import run_folder
from vist3a.runtime.step_log import step_log
from vist3a.sampling.sampling import SamplingConfig
from vist3a.shortening.artifact import save_shortened
from vist3a.shortening.shorten import ShortenData, shorten
from vist3a.shortening.shorten_settings import ShortenSettings
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.shorten.comparison import as_lines, compare_steps
from vist3a_app.pipelines.shorten.onlooker import load_onlooker
from vist3a_app.pipelines.shorten.params import ShortenParams

logger = logging.getLogger(__name__)
Trained = tuple[Callable[[Path], None], dict[str, Any], pd.DataFrame]


def shorten_generator(params: ShortenParams, networks: Networks, checkpoints: Path, text_embeddings: Path) -> Trained:
    """The adapter, few steps compared with many, and the history of training; nothing but in the first process."""
    with joined(resolve_device(networks.device)) as processes:
        return _train(params, networks, checkpoints, text_embeddings, processes)


def _train(
    params: ShortenParams, networks: Networks, checkpoints: Path, text_embeddings: Path, processes: Processes
) -> Trained:
    if networks.generator.shortened is not None:
        raise ValueError(
            f"networks.generator.shortened: {networks.generator.shortened}, but what is shortened is the generator as it is; "
            "allowed: null"
        )
    prompts, unseen = prompts_of(params)
    with first_one_first(processes):
        embed, negative = networks.embed([*prompts, *unseen], text_embeddings)
    generator = networks.load_generator("vae", "denoiser")
    # Told before anything is made: whether this generator can be shortened at all.
    generator.learn_lengths(params.seed)
    sampling = partial(_sampling, params)
    onlooker = original = None
    if params.comparison is not None and processes.first:
        onlooker = load_onlooker(params.comparison, networks, unseen, embed, negative)
        original = onlooker.look(generator, sampling(params.comparison.steps, params.guidance))
    add_lora(generator.denoiser, params.lora_rank, params.lora_alpha, params.lora_targets, params.seed)
    if params.compile:
        generator.compile_for_training()
    if params.gradient_checkpointing:
        generator.checkpoint_gradients()
    state = run_folder(
        checkpoints,
        "shorten",
        params.model_dump_json(exclude={"comparison"}),
        networks.model_dump_json(),
        "\n".join(prompts),
    )
    history = History(step_log("shorten"), state / "history.json", passing=PARTS_LOGGED)
    data, settings = ShortenData(prompts, embed, negative), params.part(ShortenSettings)
    shorten(generator, data, settings, checkpoint=state / "loop.pt", log=history)
    if not processes.first:
        return lambda folder: None, {}, pd.DataFrame()
    first, last = history.ends(window=5)
    report: dict[str, Any] = {"first": first, "last": last, "steps": params.loop.steps, "prompts": len(prompts)}
    if onlooker is not None and original is not None:
        report["comparison"] = compare_steps(generator, onlooker, sampling, original, params.counts)
        for line in as_lines(report["comparison"]):
            logger.info("%s", line)

    def save(folder: Path) -> None:
        save_shortened(folder, generator, networks.denoiser, params.counts)
        shutil.rmtree(state, ignore_errors=True)

    return save, report, history.table()


def prompts_of(params: ShortenParams) -> tuple[list[str], list[str]]:
    """Prompts to learn from, and those of the comparison, which nothing is learned from."""
    count = 0 if params.comparison is None else params.comparison.prompts
    if params.prompts_file is not None:
        found = read_prompts(Path(params.prompts_file))
        if len(found) <= count:
            raise ValueError(
                f"shorten.prompts_file: {len(found)} prompts, of which shorten.comparison takes {count}; allowed: more of them, "
                "or fewer in the comparison"
            )
        return found[count:], found[:count]
    world: World = registry.find("worlds", params.world, "shorten.world")()
    prompts = world.prompts(params.seed, params.prompts)
    return prompts, [] if params.comparison is None else unseen_prompts(world, params.comparison.seed, count, prompts)


def _sampling(params: ShortenParams, steps: int, guidance: float) -> SamplingConfig:
    return SamplingConfig(
        steps=steps, guidance=guidance, frames=params.frames, height=params.height, width=params.width,
        flow_shift=params.flow_shift,
    )  # fmt: skip
