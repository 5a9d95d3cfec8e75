"""Thin nodes: build a network, train it for its share of time, hand back a function that writes its folder."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from vist3a.engine.device import resolve_device
from vist3a.pipelines.pretrain.params import Bank, Denoiser, Loop, PretrainParams, Scorer
from vist3a.training.loop import LoopConfig
from vist3a.training.pretrain.scene_bank import BankConfig, SceneBank
from vist3a.training.step_log import step_log

logger = logging.getLogger(__name__)

Save = Callable[[Path], None]


def train_vae(params: PretrainParams, checkpoints: Path) -> Save:
    """Video autoencoder; its latent statistics go into its configuration."""
    from diffusers import AutoencoderKLWan

    from vist3a.training.pretrain.vae import VaeLossWeights, latent_statistics, train_vae

    torch.manual_seed(params.vae.seed)
    vae = AutoencoderKLWan(**params.vae.architecture)
    bank = _bank(params, params.vae.bank, params.vae.seed)
    finished = train_vae(
        vae,
        bank,
        _loop(params.vae.loop),
        VaeLossWeights(),
        batch=params.vae.batch,
        frames=params.frames,
        seed=params.vae.seed,
        checkpoint=checkpoints / "vae.pt",
        compile_model=_compile(params, bank.device),
        log=step_log("vae"),
        max_seconds=params.max_seconds,
    )
    _tell(finished, "vae")
    mean, std = latent_statistics(vae.eval(), bank, params.frames)
    vae.register_to_config(latents_mean=mean, latents_std=std)
    return vae.to("cpu", _storage(params)).save_pretrained


def train_reconstruction(params: PretrainParams, checkpoints: Path) -> Save:
    """Reconstruction network of AnySplat's architecture."""
    from vist3a.models.reconstruction.anysplat import AnySplat, AnySplatConfig
    from vist3a.rendering import renderer_for
    from vist3a.training.pretrain.reconstruction import ReconstructionLossWeights, ViewSchedule, train_reconstruction

    settings = params.reconstruction
    torch.manual_seed(settings.seed)
    model = AnySplat(AnySplatConfig.from_dict(settings.architecture))
    bank = _bank(params, settings.bank, settings.seed, with_depth=True)
    schedule = ViewSchedule(**{k: int(v) if v == int(v) and k[-5:] != "_from" else v for k, v in settings.schedule.items()})  # type: ignore[arg-type]
    finished = train_reconstruction(
        model,
        bank,
        _loop(settings.loop),
        schedule,
        ReconstructionLossWeights(),
        watch=settings.watch,
        render=renderer_for(bank.device),
        seed=settings.seed,
        checkpoint=checkpoints / "reconstruction.pt",
        compile_model=_compile(params, bank.device),
        log=step_log("reconstruction"),
        max_seconds=params.max_seconds,
    )
    _tell(finished, "reconstruction")
    return model.to("cpu", _storage(params)).save_pretrained


def train_reward_scorer(params: PretrainParams, checkpoints: Path) -> Save:
    """Text-image scorer that alignment optimises."""
    return _train_scorer(params, params.reward_scorer, checkpoints / "reward_scorer.pt")


def train_judge(params: PretrainParams, checkpoints: Path) -> Save:
    """Text-image scorer that only judges: other seed, other scenes, other architecture."""
    return _train_scorer(params, params.judge, checkpoints / "judge.pt")


def train_denoiser(params: PretrainParams, checkpoints: Path, vae_folder: Path) -> Save:
    """Text encoder and denoiser on the latents of the trained autoencoder; the folder holds the whole generator."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    from vist3a.models.word_tokenizer import as_transformers, build_tokenizer
    from vist3a.scenes.procedural import VOCABULARY
    from vist3a.training.pretrain.generator import build_latent_bank, train_denoiser

    settings: Denoiser = params.denoiser
    device = resolve_device(params.device)
    torch.manual_seed(settings.seed)
    tokenizer = build_tokenizer(VOCABULARY)
    text = UMT5EncoderModel(UMT5Config(vocab_size=len(VOCABULARY) + 3, **settings.text_encoder))
    transformer = WanTransformer3DModel(**settings.transformer)
    bank = build_latent_bank(
        vae_folder,
        BankConfig(
            capacity=settings.scenes,
            frames=params.frames,
            height=params.size,
            width=params.size,
            captions=settings.captions,
            max_words=settings.max_text_tokens,
        ),
        seed=settings.seed,
        device=device,
    )
    finished = train_denoiser(
        transformer.to(device),
        text.to(device),
        bank,
        _loop(settings.loop),
        batch=settings.batch,
        shift=settings.shift,
        caption_dropout=settings.caption_dropout,
        seed=settings.seed,
        checkpoint=checkpoints / "denoiser.pt",
        compile_model=_compile(params, device),
        log=step_log("denoiser"),
        max_seconds=params.max_seconds,
    )
    _tell(finished, "denoiser")

    def save(folder: Path) -> None:
        shutil.copytree(vae_folder, folder / "vae")
        transformer.to("cpu", _storage(params)).save_pretrained(folder / "transformer")
        text.to("cpu", _storage(params)).save_pretrained(folder / "text_encoder")
        as_transformers(tokenizer, settings.max_text_tokens).save_pretrained(folder / "tokenizer")
        FlowMatchEulerDiscreteScheduler(shift=settings.shift).save_pretrained(folder / "scheduler")

    return save


def _train_scorer(params: PretrainParams, settings: Scorer, checkpoint: Path) -> Save:
    from vist3a.models.scorers import DualEncoder, DualEncoderConfig
    from vist3a.scenes.procedural import VOCABULARY
    from vist3a.training.pretrain.scorers import train_scorer

    torch.manual_seed(settings.seed)
    model = DualEncoder(DualEncoderConfig.from_dict({"vocabulary": VOCABULARY, **settings.architecture}))
    bank = _bank(params, settings.bank, settings.seed)
    finished = train_scorer(
        model,
        bank,
        _loop(settings.loop),
        batch=settings.batch,
        frames=params.frames,
        seed=settings.seed,
        checkpoint=checkpoint,
        log=step_log(checkpoint.stem),
        max_seconds=params.max_seconds,
    )
    _tell(finished, checkpoint.stem)
    return lambda folder: model.save_pretrained(folder, _storage(params))


def _bank(params: PretrainParams, bank: Bank, seed: int, with_depth: bool = False) -> SceneBank:
    config = BankConfig(
        frames=params.frames, height=params.size, width=params.size, with_depth=with_depth, **bank.model_dump()
    )
    return SceneBank(config, seed, resolve_device(params.device))


def _loop(loop: Loop) -> LoopConfig:
    return LoopConfig(**loop.model_dump())


def _compile(params: PretrainParams, device: torch.device) -> bool:
    return params.compile == "yes" or (params.compile == "auto" and device.type == "cuda")


def _storage(params: PretrainParams) -> torch.dtype:
    return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[params.storage]


def _tell(finished: bool, what: str) -> None:
    if not finished:
        logger.warning("%s: stopped by max_seconds before its last step; run the pipeline again to go on", what)
