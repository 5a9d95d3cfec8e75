"""Stitched decoder + rewards -> aligned generator (a LoRA of its denoiser)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.engine.device import resolve_device
from vist3a.models.lora import add_lora, save_lora
from vist3a.models.scorers import DualEncoder
from vist3a.pipelines.align.params import AlignParams
from vist3a.pipelines.distill.params import DistillParams
from vist3a.pipelines.networks import Networks
from vist3a.pipelines.stitched import load_decoder
from vist3a.rendering import renderer_for
from vist3a.rewards.embedded import reward_from
from vist3a.scenes.clip_store import ClipStore
from vist3a.scenes.procedural import sample_prompts
from vist3a.scenes.prompt_list import read_prompts
from vist3a.training.align import AlignSampling, align
from vist3a.training.history import History
from vist3a.training.loop import LoopConfig
from vist3a.training.run_folder import run_folder
from vist3a.training.step_log import step_log


def align_generator(
    params: AlignParams,
    distill_params: DistillParams,
    networks: Networks,
    stitched_decoder: Path,
    clips: Path,
    clip_index: pd.DataFrame,
    checkpoints: Path,
    text_embeddings: Path,
) -> tuple[Callable[[Path], None], dict[str, Any], pd.DataFrame]:
    """The adapter, every reward term at the first and last steps, and the whole history."""
    device = resolve_device(networks.device)
    fit_clips = ClipStore(clips, clip_index).load_split("fit")
    if params.prompts_file is None:
        prompts = [prompt.text for prompt in sample_prompts(params.seed, params.prompts)]
    else:
        prompts = read_prompts(Path(params.prompts_file))
    embed, negative = networks.embed([*prompts, *(clip.caption for clip in fit_clips)], text_embeddings)
    generator = networks.load_generator("vae", "denoiser")
    add_lora(generator.denoiser, params.lora_rank, params.lora_alpha, params.lora_targets, params.seed)
    decoder = load_decoder(networks, distill_params, stitched_decoder)
    if params.gradient_checkpointing:
        generator.checkpoint_gradients()
        decoder.network.gradient_checkpointing = True
    scorer = DualEncoder.from_pretrained(Path(params.reward_scorer), device)
    state = run_folder(
        checkpoints, "align", params.model_dump_json(), networks.model_dump_json(), stitched_decoder, clip_index.to_json(),
        "\n".join(prompts),
    )  # fmt: skip
    history = History(step_log("align"), state / "history.json")
    align(
        generator,
        embed,
        decoder,
        renderer_for(device),
        reward_from(scorer, params.rewards.model_dump()),
        prompts,
        fit_clips,
        LoopConfig(**params.loop.model_dump()),
        AlignSampling(**{name: getattr(params, name) for name in AlignSampling.__dataclass_fields__}),
        seed=params.seed,
        negative=negative,
        checkpoint=state / "loop.pt",
        log=history,
    )
    first, last = history.ends(window=5)
    shutil.rmtree(state, ignore_errors=True)
    report = {"first": first, "last": last, "steps": params.loop.steps, "prompts": len(prompts)}
    return lambda folder: save_lora(generator.denoiser, folder), report, history.table()
