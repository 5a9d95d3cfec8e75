"""Embedded text encoder and denoiser: flow matching on the latents of a bank of scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.models.generators.wan import WanGenerator
from vist3a.models.generators.wan_whole_clip import encode_moments
from vist3a.models.word_tokenizer import build_tokenizer
from vist3a.scenes.procedural import VOCABULARY
from vist3a.training.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.training.pretrain.scene_bank import BankConfig, SceneBank
from vist3a.training.step_log import Log


@dataclass(frozen=True)
class LatentBank:
    """Normalised latents of many scenes and token ids (0 = padding) of several captions each."""

    latents: Float[Tensor, "scenes channels times rows columns"]
    caption_ids: Int[Tensor, "scenes captions words"]
    empty_ids: Int[Tensor, " words"]


@torch.no_grad()
def build_latent_bank(
    vae_folder: Path, config: BankConfig, seed: int, device: torch.device, chunk: int = 2048
) -> LatentBank:
    """Render scenes, encode them (posterior mean, normalised, stored in half precision) and tokenise their captions."""
    generator = WanGenerator.from_pretrained(str(vae_folder.parent), parts=("vae",), device=device)
    latents, ids = [], []
    for start in range(0, config.capacity, chunk):
        count = min(chunk, config.capacity - start)
        bank = SceneBank(dataclasses.replace(config, capacity=count), seed, device, first=start)
        for batch in bank.rgb[:, : config.frames].split(64):
            video = batch.float().div_(127.5).sub_(1).transpose(1, 2)
            mean = encode_moments(generator.vae, video).chunk(2, dim=1)[0]
            latents.append(generator.normalise(mean).half())
        ids.append(bank.caption_ids)
    tokenizer = build_tokenizer(VOCABULARY)
    tokenizer.enable_padding(length=config.max_words)
    empty = torch.tensor(tokenizer.encode("").ids, device=device)
    return LatentBank(torch.cat(latents), torch.cat(ids), empty)


def sample_sigmas(batch: int, step: int, shift: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Noise levels in (0, 1): logit-normal and uniform in alternate steps, then the scheduler's shift."""
    if step % 2:
        u = torch.rand(batch, generator=generator, device=device)
    else:
        u = torch.sigmoid(torch.randn(batch, generator=generator, device=device))
    return shift * u / (1 + (shift - 1) * u)


def train_denoiser(
    transformer: Any,
    text_encoder: Any,
    bank: LatentBank,
    loop: LoopConfig,
    *,
    batch: int,
    shift: float,
    caption_dropout: float,
    seed: int,
    checkpoint: Path | None,
    compile_model: bool = False,
    log: Log | None = None,
    max_seconds: float | None = None,
) -> int:
    """Train both networks in place; returns the number of steps done so far.

    The target is the flow-matching velocity (noise minus clean latents); the timestep is 1000 sigma.
    """
    device = bank.latents.device
    transformer.requires_grad_(True).train()
    text_encoder.requires_grad_(True).train()
    forward: Callable[..., Any] = torch.compile(transformer) if compile_model else transformer

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        generator = step_generator(seed, step, device)
        scenes = torch.randint(len(bank.latents), (batch,), generator=generator, device=device)
        variant = torch.randint(bank.caption_ids.shape[1], (batch,), generator=generator, device=device)
        ids = bank.caption_ids[scenes, variant]
        drop = torch.rand(batch, generator=generator, device=device) < caption_dropout
        ids = torch.where(drop[:, None], bank.empty_ids, ids)
        clean = bank.latents[scenes].float()
        noise = torch.randn(clean.shape, generator=generator, device=device)
        sigma = sample_sigmas(batch, step, shift, generator, device)
        level = sigma.view(-1, 1, 1, 1, 1)
        mask = (ids != 0).to(ids.dtype)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            text = text_encoder(ids, mask).last_hidden_state * mask[..., None]
            predicted = forward((1 - level) * clean + level * noise, 1000 * sigma, text, return_dict=False)[0]
        loss = (predicted.float() - (noise - clean)).square().mean()
        return loss, {"flow_matching": loss.detach()}

    modules = {"transformer": transformer, "text_encoder": text_encoder}
    done = TrainingLoop(modules, loop, checkpoint).run(step_loss, log, max_seconds)
    transformer.requires_grad_(False).eval()
    text_encoder.requires_grad_(False).eval()
    return done
