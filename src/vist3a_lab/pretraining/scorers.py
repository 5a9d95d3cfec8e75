"""Embedded text-image scorers: contrastive training (Radford et al., 2021) plus attribute classification."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.step_log import Log
from vist3a_lab.pretraining.scene_bank import UNKNOWN, SceneBank
from vist3a_lab.scorers import DualEncoder

EARLY = 3
"""Frames in which the first camera's left, right, front and behind still hold."""


def contrastive_loss(
    images: Float[Tensor, "n width"], texts: Float[Tensor, "n width"], scale: Float[Tensor, ""], same: Tensor
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE; pairs whose captions are identical (``same`` [n, n], true off the diagonal) are not negatives."""
    logits = scale * images @ texts.T
    logits = logits.masked_fill(same & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device), -1e4)
    target = torch.arange(len(logits), device=logits.device)
    return 0.5 * (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target))


def degrade(
    images: Float[Tensor, "n 3 h w"], generator: torch.Generator, device: torch.device
) -> Float[Tensor, "n 3 h w"]:
    """Blur, noise and shift as decoded and rendered views have them, so that scores stay meaningful there."""
    n, _, height, width = images.shape
    # One size for the batch, and of every image its own share of the blur.
    scale = 0.5 + 0.5 * float(torch.rand((), generator=generator, device=device))
    small = nn.functional.interpolate(images, scale_factor=scale, mode="bilinear", antialias=True)
    blurred = nn.functional.interpolate(small, (height, width), mode="bilinear")
    mix = torch.rand(n, 1, 1, 1, generator=generator, device=device)
    noise = torch.randn(images.shape, generator=generator, device=device)
    strength = 0.06 * torch.rand(n, 1, 1, 1, generator=generator, device=device)
    shift = torch.randint(-2, 3, (2,), generator=generator, device=device).tolist()
    return (images + mix * (blurred - images) + strength * noise).clamp(0, 1).roll(shift, (-2, -1))


def train_scorer(
    model: DualEncoder,
    bank: SceneBank,
    loop: LoopConfig,
    *,
    batch: int,
    frames: int,
    seed: int,
    checkpoint: Path | None,
    log: Log | None = None,
    max_seconds: float | None = None,
) -> int:
    """Train ``model`` in place on single frames and captions of the bank; returns the number of steps done so far."""
    model.requires_grad_(True).train().to(bank.device)
    device = bank.device

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        generator = step_generator(seed, step, device)
        bank.refresh(step)
        scenes = bank.draw(batch, generator)
        frame = torch.randint(frames, (batch,), generator=generator, device=device)
        if model.attribute_heads:
            # Relations can only be learned from early frames: show those in half of the batch.
            frame[::2] = frame[::2] % EARLY
        images = degrade(bank.rgb[scenes, frame].float() / 255, generator, device)
        ids = bank.caption_ids[scenes, step % bank.caption_ids.shape[1]]
        same = (ids[:, None] == ids[None]).all(-1)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            features = model.image_features(images)
            embedded = nn.functional.normalize(model.image_head(features), dim=-1)
            texts = model.embed_tokens(ids)
        # The limit on the temperature is that of CLIP.
        loss = contrastive_loss(embedded.float(), texts.float(), model.log_scale.exp().clamp(max=100), same)
        parts = {"contrastive": loss.detach()}
        for name, head in model.attribute_heads.items():
            logits = head(features.float())
            wanted = bank.labels[name][scenes]
            if name.startswith("relation"):
                wanted = wanted.masked_fill(frame >= EARLY, UNKNOWN)
            # Over the batch and not over the known labels: an attribute that few scenes have weighs little.
            loss = loss + nn.functional.cross_entropy(logits, wanted, ignore_index=UNKNOWN, reduction="sum") / batch
            known = wanted != UNKNOWN
            parts[f"accuracy/{name}"] = (logits.argmax(-1) == wanted).logical_and(known).sum() / known.sum().clamp(
                min=1
            )
        return loss, parts

    done = TrainingLoop({"scorer": model}, loop, checkpoint).run(step_loss, log, max_seconds)
    model.requires_grad_(False).eval()
    return done
