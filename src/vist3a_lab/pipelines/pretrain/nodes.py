"""Thin nodes: build a network, train it for its share of time, hand back a function that writes its folder."""

from __future__ import annotations

from pathlib import Path

import torch

from vist3a.runtime.step_log import step_log
from vist3a_lab.pipelines.pretrain.building import (
    Save,
    compiles,
    fit_scorer,
    make_bank,
    storage_dtype,
    with_record,
)
from vist3a_lab.pipelines.pretrain.params import PretrainParams


def train_vae(params: PretrainParams, checkpoints: Path) -> Save:
    """Video autoencoder; its latent statistics go into its configuration."""
    from diffusers import AutoencoderKLWan

    from vist3a_lab.pretraining.vae import VaeLossWeights, latent_statistics, train_vae

    torch.manual_seed(params.vae.seed)
    vae = AutoencoderKLWan(**params.vae.architecture)
    if params.vae.start is not None:
        start = AutoencoderKLWan.from_pretrained(Path(params.vae.start) / "vae")
        vae.load_state_dict(start.state_dict())
        if params.vae.trained == "decoder":
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)
    bank = make_bank(params, params.vae.bank, params.vae.seed, unsteady=params.vae.clips)
    steps = train_vae(
        vae,
        bank,
        params.vae.loop,
        VaeLossWeights(),
        batch=params.vae.batch,
        frames=params.frames,
        seed=params.vae.seed,
        checkpoint=checkpoints / "vae.pt",
        compile_model=compiles(params, bank.device),
        log=step_log("vae"),
        max_seconds=params.max_seconds,
    )
    # Last, of the trained weights: generators normalize their latents with these. An encoder that stayed keeps its own.
    if params.vae.trained == "decoder":
        mean, std = start.config.latents_mean, start.config.latents_std
    else:
        mean, std = latent_statistics(vae.eval(), bank, params.frames)
    vae.register_to_config(latents_mean=mean, latents_std=std)
    return with_record(vae.to("cpu", storage_dtype(params)).save_pretrained, params.vae, steps)


def train_reconstruction(params: PretrainParams, checkpoints: Path) -> Save:
    """Reconstruction network of AnySplat's architecture."""
    from vist3a.networks.anysplat import AnySplat, AnySplatConfig
    from vist3a.rendering import renderer_for
    from vist3a_lab.pretraining.reconstruction import ReconstructionLossWeights, train_reconstruction

    settings = params.reconstruction
    torch.manual_seed(settings.seed)
    model = AnySplat(AnySplatConfig.from_dict(settings.architecture))
    if settings.start is not None:
        model.load_state_dict(AnySplat.from_pretrained(settings.start).state_dict())
    bank = make_bank(params, settings.bank, settings.seed, with_depth=True)
    steps = train_reconstruction(
        model,
        bank,
        settings.loop,
        settings.schedule,
        ReconstructionLossWeights(),
        watch=settings.watch,
        render=renderer_for(bank.device),
        seed=settings.seed,
        checkpoint=checkpoints / "reconstruction.pt",
        compile_model=compiles(params, bank.device),
        log=step_log("reconstruction"),
        max_seconds=params.max_seconds,
    )
    return with_record(model.to("cpu", storage_dtype(params)).save_pretrained, settings, steps)


def train_reward_scorer(params: PretrainParams, checkpoints: Path) -> Save:
    """Text-image scorer that alignment optimises."""
    return fit_scorer(params, params.reward_scorer, checkpoints / "reward_scorer.pt")


def train_judge(params: PretrainParams, checkpoints: Path) -> Save:
    """Text-image scorer that only judges: other seed, other scenes, other architecture."""
    return fit_scorer(params, params.judge, checkpoints / "judge.pt")
