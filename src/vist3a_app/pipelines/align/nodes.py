"""Stitched decoder + rewards -> aligned generator (a LoRA of its denoiser)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.adapters.artifact import save_adapter
from vist3a.adapters.lora import add_lora
from vist3a.alignment.align import AlignSampling, align
from vist3a.data.clip_store import ClipStore
from vist3a.pairing import DTYPES
from vist3a.rendering import renderer_for
from vist3a.runtime.device import resolve_device
from vist3a.runtime.history import History
from vist3a.runtime.launch import Processes
from vist3a.runtime.loop import LoopConfig
from vist3a.runtime.part_meter import PARTS_LOGGED
from vist3a.runtime.processes import first_one_first, joined
from vist3a.runtime.run_folder import run_folder
from vist3a.runtime.shard import shard_frozen
from vist3a.runtime.step_log import step_log
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.phrasing import in_templates, prompts_of
from vist3a_app.pipelines.align.reward_models import load_reward_models
from vist3a_app.pipelines.align.watching import watch_over
from vist3a_app.pipelines.aligned import aligned_with
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.stitched import load_decoder

Trained = tuple[Callable[[Path], None], dict[str, Any], pd.DataFrame]


def align_generator(
    params: AlignParams,
    networks: Networks,
    stitched_decoder: Path,
    clips: Path,
    clip_index: pd.DataFrame,
    checkpoints: Path,
    text_embeddings: Path,
) -> Trained:
    """The adapter, every reward term at the first and last steps, and the whole history; nothing but in the first process."""
    with joined(resolve_device(networks.device)) as processes:
        return _train(
            params, networks, stitched_decoder, clips, clip_index, checkpoints, text_embeddings, processes
        )  # fmt: skip


def _train(
    params: AlignParams,
    networks: Networks,
    stitched_decoder: Path,
    clips: Path,
    clip_index: pd.DataFrame,
    checkpoints: Path,
    text_embeddings: Path,
    processes: Processes,
) -> Trained:
    device = resolve_device(networks.device)
    decoder = load_decoder(networks, stitched_decoder)
    models = load_reward_models(params, decoder.network.has_gaussians, device, networks.known.rewards)
    fit_clips = ClipStore(clips, clip_index).load_split("fit")
    prompts = prompts_of(params)
    asking = networks.asking(params.negative_prompt, params.max_text_tokens)
    with first_one_first(processes):
        embed, negative = asking.embed([*prompts, *(clip.caption for clip in fit_clips)], text_embeddings)
        phrased = in_templates(params, asking, prompts, embed, text_embeddings)
    generator = networks.load_generator("vae", "denoiser")
    if params.vae_dtype is not None:
        generator.vae.to(DTYPES[params.vae_dtype])
    add_lora(generator.denoiser, params.lora_rank, params.lora_alpha, params.lora_targets, params.seed)
    if params.compile:
        generator.compile_for_training()
        decoder.network.compile_blocks(dynamic=False)
    if params.gradient_checkpointing:
        generator.checkpoint_gradients(denoiser=params.gradient_checkpointing != "decoders")
        decoder.network.gradient_checkpointing = True
    if params.shard:
        shard_frozen(generator.denoiser, processes)
    state = run_folder(  # with shards or without, a killed run goes on
        checkpoints, "align", params.model_dump_json(exclude={"shard"}), networks.model_dump_json(), stitched_decoder,
        clip_index.to_json(), "\n".join(prompts),
    )  # fmt: skip
    history = History(step_log("align"), state / "history.json", passing=PARTS_LOGGED)
    watch = watch_over(params, generator, embed, decoder, models, prompts, negative, device, state / "watch.json")
    others = watch.accompany if params.shard else None
    align(
        generator,
        phrased,
        decoder,
        renderer_for(device),
        models.reward,
        prompts,
        fit_clips,
        LoopConfig(**params.loop.model_dump()),
        AlignSampling(**{name: getattr(params, name) for name in AlignSampling.__dataclass_fields__}),
        seed=params.seed,
        negative=negative,
        checkpoint=state / "loop.pt",
        log=history,
        watch=watch if processes.first else others,
    )
    if not processes.first:
        return lambda folder: None, {}, pd.DataFrame()
    first, last = history.ends(window=5)

    def save(folder: Path) -> None:
        save_adapter(folder, generator.denoiser, aligned_with(networks, stitched_decoder))
        shutil.rmtree(state, ignore_errors=True)

    report = {"first": first, "last": last, "steps": params.loop.steps, "prompts": len(prompts)}
    return save, report, history.table()
