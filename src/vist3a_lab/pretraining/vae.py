"""Embedded video autoencoder: the Wan 2.1 architecture at small width, trained by reconstruction (no adversarial term)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.generators.wan_whole_clip import decode_video, encode_moments
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.step_log import Log
from vist3a_lab.pretraining.scene_bank import SceneBank

KL_LIMIT = 20.0


@dataclass(frozen=True)
class VaeLossWeights:
    """Weights of the reconstruction loss on videos in [-1, 1]."""

    l1: float = 1.0
    mse: float = 3.0
    gradient: float = 0.25
    color: float = 3.0
    """Of the mean color of whole frames: an error there is small in every pixel, and a flicker to the eye."""
    kl: float = 1e-4


class ClipAutoencoder(nn.Module):
    """Autoencoder forward for training: sample the posterior, decode without clamping (one module, so that it compiles)."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, video: Float[Tensor, "b 3 t h w"], noise: Float[Tensor, "b c tt hh ww"]
    ) -> tuple[Float[Tensor, "b 3 t h w"], Float[Tensor, ""]]:
        """Reconstruction and mean KL divergence per latent element."""
        mean, log_variance = encode_moments(self.vae, video).chunk(2, dim=1)
        # Of an untrained encoder the exponential could overflow.
        log_variance = log_variance.float().clamp(-KL_LIMIT, KL_LIMIT)
        mean = mean.float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        latents = mean + (0.5 * log_variance).exp() * noise
        return decode_video(self.vae, latents).float(), kl


def reconstruction_loss(
    output: Float[Tensor, "b 3 t h w"], target: Float[Tensor, "b 3 t h w"], weights: VaeLossWeights
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Weighted loss (without KL) and the mean squared error, on videos in [-1, 1]."""
    difference = output - target
    # Differences of neighbors weigh edges, which the other two terms blur.
    gradient = difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    mse = difference.square().mean()
    color = difference.mean((-2, -1)).abs().mean()
    loss = weights.l1 * difference.abs().mean() + weights.mse * mse + weights.gradient * gradient
    return loss + weights.color * color, mse


def train_vae(
    vae: Any,
    bank: SceneBank,
    loop: LoopConfig,
    weights: VaeLossWeights,
    *,
    batch: int,
    frames: int,
    seed: int,
    checkpoint: Path | None,
    compile_model: bool = False,
    log: Log | None = None,
    max_seconds: float | None = None,
) -> int:
    """Train ``vae`` in place; returns the number of steps done so far."""
    model = ClipAutoencoder(vae).to(bank.device)
    forward: Callable[..., Any] = torch.compile(model) if compile_model else model
    latent_shape: list[int] = []

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        generator = step_generator(seed, step, bank.device)
        bank.refresh(step)
        scenes = bank.draw(batch, generator)
        video = bank.rgb[scenes, :frames].float().div_(127.5).sub_(1).transpose(1, 2).contiguous()
        # Every other step sees its clips mirrored.
        if step % 2:
            video = video.flip(-1)
        # Noise is drawn outside of the compiled module, from (seed, step); its shape is found out once.
        if not latent_shape:
            with torch.no_grad():
                latent_shape.extend(encode_moments(vae, video[:1]).shape[1:])
        noise = torch.randn(batch, latent_shape[0] // 2, *latent_shape[1:], generator=generator, device=bank.device)
        with torch.autocast(bank.device.type, torch.bfloat16, enabled=bank.device.type == "cuda"):
            output, kl = forward(video, noise)
        loss, mse = reconstruction_loss(output, video, weights)
        # Videos span 2: the squared peak of the PSNR is 4.
        return loss + weights.kl * kl, {"psnr": -10 * torch.log10(mse / 4), "kl": kl}

    training = TrainingLoop({"vae": vae}, loop, checkpoint)
    return training.run(step_loss, log, max_seconds)


@torch.no_grad()
def latent_statistics(
    vae: Any, bank: SceneBank, frames: int, scenes: int = 1024, batch: int = 32
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per latent channel of the posterior means over the first scenes of the bank."""
    # Sums in float64: the variance is a difference of two large numbers.
    total = torch.zeros(vae.config.z_dim, dtype=torch.float64)
    square, count = torch.zeros_like(total), 0
    for start in range(0, min(scenes, bank.capacity), batch):
        video = bank.rgb[start : start + batch, :frames].float().div_(127.5).sub_(1).transpose(1, 2)
        mean = encode_moments(vae, video).chunk(2, dim=1)[0].double().cpu()
        total += mean.sum((0, 2, 3, 4))
        square += mean.square().sum((0, 2, 3, 4))
        count += mean.numel() // mean.shape[1]
    average = total / count
    return average.tolist(), (square / count - average.square()).clamp(min=1e-12).sqrt().tolist()
