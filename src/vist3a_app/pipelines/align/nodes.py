"""Stitched decoder + rewards -> aligned generator (a LoRA of its denoiser)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from vist3a.adapters.artifact import save_adapter
from vist3a.adapters.lora import add_lora
from vist3a.alignment.align import AlignData, AlignRun, align
from vist3a.alignment.align_settings import AlignSettings, WatchConfig
from vist3a.alignment.watch import watch_generator
from vist3a.data.clip_store import ClipStore
from vist3a.pairing import DTYPES
from vist3a.runtime.device import resolve_device
from vist3a.runtime.history import History
from vist3a.runtime.launch import Processes
from vist3a.runtime.part_meter import PARTS_LOGGED
from vist3a.runtime.picture_log import picture_log
from vist3a.runtime.processes import first_one_first, joined
from vist3a.runtime.run_folder import run_folder
from vist3a.runtime.shard import shard_frozen
from vist3a.runtime.step_log import step_log
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.phrasing import in_templates, prompts_of
from vist3a_app.pipelines.align.reward_models import load_reward_models
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
    # Before what takes long: a missing file is told now.
    models = load_reward_models(params, decoder.network.has_gaussians, device, networks.known.rewards)
    fit_clips = ClipStore(clips, clip_index).load_split("fit")
    prompts = prompts_of(params)
    asking = networks.asking(params.negative_prompt, params.max_text_tokens)
    # The first process embeds what is not stored yet; the others find it there.
    with first_one_first(processes):
        embed, negative = asking.embed([*prompts, *(clip.caption for clip in fit_clips)], text_embeddings)
        ask = in_templates(params, asking, prompts, text_embeddings)
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
    # With shards or without, a killed run resumes.
    state = run_folder(
        checkpoints, "align", params.model_dump_json(exclude={"shard"}), networks.model_dump_json(), stitched_decoder,
        clip_index.to_json(), "\n".join(prompts),
    )  # fmt: skip
    history = History(step_log("align"), state / "history.json", passing=PARTS_LOGGED)
    data, settings = AlignData(prompts, fit_clips, embed, ask, negative), params.part(AlignSettings)
    watch = watch_generator(
        generator, decoder, models.watched, data, settings, params.watch.part(WatchConfig), path=state / "watch.json",
        pictures=picture_log("align/preview"), original=networks.load_reconstruction,
    )  # fmt: skip
    # A sharded generator runs in all processes or in none.
    others = watch.accompany if params.shard else None
    run = AlignRun(
        state / "loop.pt", history, watch if processes.first else others, lambda: watch.finish(processes, params.shard)
    )
    align(generator, decoder, models.reward, data, settings, run)
    # All processes hold the same adapter in the end.
    if not processes.first:
        return lambda folder: None, {}, pd.DataFrame()
    first, last = history.ends(window=5)

    def save(folder: Path) -> None:
        save_adapter(folder, generator.denoiser, aligned_with(networks, stitched_decoder))
        shutil.rmtree(state, ignore_errors=True)

    report = {"first": first, "last": last, "steps": params.loop.steps, "prompts": len(prompts)}
    if watch.films is not None:
        report |= watch.films.report()
    return save, report, history.table()
