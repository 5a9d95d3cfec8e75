"""The node that trains text encoder and denoiser on the latents of the trained autoencoder."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from vist3a.runtime.device import resolve_device
from vist3a.runtime.step_log import step_log
from vist3a_lab.pipelines.pretrain.building import Save, compiles, storage_dtype, with_record
from vist3a_lab.pipelines.pretrain.params import Denoiser, PretrainParams
from vist3a_lab.pretraining.scene_bank import BankConfig


def train_denoiser(params: PretrainParams, checkpoints: Path, vae_folder: Path) -> Save:
    """Text encoder and denoiser on the latents of the trained autoencoder; the folder holds the whole generator."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    from vist3a.generators.wan import WanGenerator
    from vist3a.generators.word_tokenizer import as_transformers, build_tokenizer
    from vist3a_lab.pretraining.generator import build_latent_bank, train_denoiser
    from vist3a_lab.procedural import VOCABULARY

    settings: Denoiser = params.denoiser
    device = resolve_device(params.device)
    torch.manual_seed(settings.seed)
    tokenizer = build_tokenizer(VOCABULARY)
    # The tokenizer has three ids before the words: padding, end, unknown.
    text = UMT5EncoderModel(UMT5Config(vocab_size=len(VOCABULARY) + 3, **settings.text_encoder))
    transformer = WanTransformer3DModel(**settings.transformer)
    if settings.start is not None:
        start = WanGenerator.from_pretrained(settings.start, parts=("text", "denoiser"))
        transformer.load_state_dict(start.get_submodule("transformer").state_dict())
        text.load_state_dict(start.get_submodule("text_encoder").state_dict())
    bank = build_latent_bank(
        vae_folder,
        BankConfig(
            capacity=settings.scenes,
            frames=params.frames,
            height=params.size,
            width=params.size,
            captions=settings.captions,
            max_words=settings.max_text_tokens,
            unsteady=settings.clips,
        ),
        pairs=settings.pairs,
        seed=settings.seed,
        device=device,
        cache=checkpoints / "denoiser_bank.safetensors",
    )
    steps = train_denoiser(
        transformer.to(device),
        text.to(device),
        bank,
        settings.loop,
        batch=settings.batch,
        shift=settings.shift,
        caption_dropout=settings.caption_dropout,
        relation_weight=settings.relation_weight,
        seed=settings.seed,
        checkpoint=checkpoints / "denoiser.pt",
        compile_model=compiles(params, device),
        log=step_log("denoiser"),
        max_seconds=params.max_seconds,
    )

    def save(folder: Path) -> None:
        shutil.copytree(vae_folder, folder / "vae")
        transformer.to("cpu", storage_dtype(params)).save_pretrained(folder / "transformer")
        text.to("cpu", storage_dtype(params)).save_pretrained(folder / "text_encoder")
        as_transformers(tokenizer, settings.max_text_tokens).save_pretrained(folder / "tokenizer")
        FlowMatchEulerDiscreteScheduler(shift=settings.shift).save_pretrained(folder / "scheduler")

    return with_record(save, settings, steps)
