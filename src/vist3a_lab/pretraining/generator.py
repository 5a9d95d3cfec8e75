"""Embedded text encoder and denoiser: flow matching on the latents of a bank of scenes, and supervised relations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from vist3a.generators.wan import WanGenerator
from vist3a.generators.wan_whole_clip import encode_moments
from vist3a.generators.word_tokenizer import build_tokenizer
from vist3a.runtime.atomic import replacing
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.step_log import Log
from vist3a_lab.pretraining.relation_words import UNKNOWN, RelationHead
from vist3a_lab.pretraining.scene_bank import BankConfig, SceneBank
from vist3a_lab.procedural import VOCABULARY


@dataclass(frozen=True)
class LatentBank:
    """Normalised latents of many scenes; token ids (0 = padding) and relation targets of several captions each."""

    latents: Float[Tensor, "scenes channels times rows columns"]
    caption_ids: Int[Tensor, "scenes captions words"]
    relation_targets: Int[Tensor, "scenes captions words"]
    empty_ids: Int[Tensor, " words"]


@torch.no_grad()
def build_latent_bank(
    vae_folder: Path,
    config: BankConfig,
    pairs: int,
    seed: int,
    device: torch.device,
    cache: Path | None = None,
    chunk: int = 2048,
) -> LatentBank:
    """Render scenes, encode them (posterior mean, normalised, stored in half precision) and tokenise their captions.

    ``config.capacity`` scenes of the world's mixture, then ``pairs`` with two objects each. ``cache`` is a file that holds the
    bank between the runs of a training that is stopped and goes on.
    """
    tokenizer = build_tokenizer(VOCABULARY)
    tokenizer.enable_padding(length=config.max_words)
    empty = torch.tensor(tokenizer.encode("").ids, device=device)
    if cache is not None and cache.is_file():
        stored = load_file(cache, device=str(device))
        return LatentBank(stored["latents"], stored["caption_ids"], stored["relation_targets"], empty)
    generator = WanGenerator.from_pretrained(str(vae_folder.parent), parts=("vae",), device=device)
    # Pairs are numbered after the mixture, so that no scene is in both.
    kinds: list[tuple[int, int, int | None]] = []
    kinds += [(start, min(chunk, config.capacity - start), None) for start in range(0, config.capacity, chunk)]
    kinds += [(config.capacity + start, min(chunk, pairs - start), 2) for start in range(0, pairs, chunk)]
    latents, ids, relations = [], [], []
    # Frames of one chunk at a time: of each only the latents are kept.
    for first, count, objects in kinds:
        bank = SceneBank(dataclasses.replace(config, capacity=count, objects=objects), seed, device, first=first)
        for batch in bank.rgb[:, : config.frames].split(64):
            video = batch.float().div_(127.5).sub_(1).transpose(1, 2)
            mean = encode_moments(generator.vae, video).chunk(2, dim=1)[0]
            latents.append(generator.normalise(mean).half())
        ids.append(bank.caption_ids)
        relations.append(bank.relation_targets)
    result = LatentBank(torch.cat(latents).contiguous(), torch.cat(ids), torch.cat(relations), empty)
    if cache is not None:
        with replacing(cache) as temporary:
            save_file(
                {name: getattr(result, name) for name in ("latents", "caption_ids", "relation_targets")}, temporary
            )
    return result


def sample_sigmas(batch: int, step: int, shift: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """Noise levels in (0, 1): logit-normal and uniform in alternate steps, then the scheduler's shift."""
    # Logit-normal levels (Esser et al., 2024) favor the middle, uniform ones keep the ends in training.
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
    relation_weight: float,
    seed: int,
    checkpoint: Path | None,
    compile_model: bool = False,
    log: Log | None = None,
    max_seconds: float | None = None,
) -> int:
    """Train both networks in place; returns the number of steps done so far.

    The target is the flow-matching velocity (noise minus clean latents); the timestep is 1000 sigma. ``relation_weight`` is
    that of the relation supervision of the text encoder.
    """
    device = bank.latents.device
    relation_head = RelationHead(text_encoder.config.d_model).to(device)
    transformer.requires_grad_(True).train()
    text_encoder.requires_grad_(True).train()
    forward: Callable[..., Any] = torch.compile(transformer) if compile_model else transformer

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        generator = step_generator(seed, step, device)
        scenes = torch.randint(len(bank.latents), (batch,), generator=generator, device=device)
        variant = torch.randint(bank.caption_ids.shape[1], (batch,), generator=generator, device=device)
        ids = bank.caption_ids[scenes, variant]
        # Some clips get the empty text, which classifier-free guidance compares with; it states no relation.
        drop = torch.rand(batch, generator=generator, device=device) < caption_dropout
        ids = torch.where(drop[:, None], bank.empty_ids, ids)
        relations = bank.relation_targets[scenes, variant].masked_fill(drop[:, None], UNKNOWN)
        clean = bank.latents[scenes].float()
        noise = torch.randn(clean.shape, generator=generator, device=device)
        sigma = sample_sigmas(batch, step, shift, generator, device)
        level = sigma.view(-1, 1, 1, 1, 1)
        mask = (ids != 0).to(ids.dtype)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            # States of padding are zero, as Wan's pipeline hands them over.
            text = text_encoder(ids, mask).last_hidden_state * mask[..., None]
            predicted = forward((1 - level) * clean + level * noise, 1000 * sigma, text, return_dict=False)[0]
        flow = (predicted.float() - (noise - clean)).square().mean()
        relation = relation_head(text, relations)
        return flow + relation_weight * relation, {"flow_matching": flow.detach(), "relation": relation.detach()}

    modules = {"transformer": transformer, "text_encoder": text_encoder, "relation_head": relation_head}
    done = TrainingLoop(modules, loop, checkpoint).run(step_loss, log, max_seconds)
    transformer.requires_grad_(False).eval()
    text_encoder.requires_grad_(False).eval()
    return done
