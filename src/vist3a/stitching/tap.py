"""Frames of clips -> rows of the regression: latent patches, and the tokens of every candidate point."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.data.clip_batches import ClipBatch
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import StitchPoint, TokenState
from vist3a.stitching.grids import StitchSpec, patches
from vist3a.stitching.layer import standardise
from vist3a.stitching.noise import noise_gram

Size = tuple[int, int]


@dataclass(frozen=True)
class TapSettings:
    """What is tapped and how latents meet tokens; with the two networks it determines every row.

    Latents are the posterior's mode, or with ``sample_seed`` samples that depend on (seed, name of the clip) only; raw, or
    ``normalised`` as the denoiser sees them. Of each clip the first ``frames`` are seen (None: all).
    """

    points: tuple[StitchPoint, ...]
    token_grid: Size
    spec: StitchSpec
    sample_seed: int | None = None
    normalised: bool = False
    frames: int | None = None

    @property
    def names(self) -> list[str]:
        """Names of the points."""
        return [point.name for point in self.points]


class Rows(NamedTuple):
    """Rows of the regression for a batch of clips, and what noise on their latents would add to the products of patches."""

    patches: Float[Tensor, "batch views rows columns features"]
    states: dict[str, TokenState]
    noise: Float[Tensor, "features features"]


class Tap:
    """Runs the video encoder and as many blocks of the reconstruction network as the points need, for a batch of clips."""

    def __init__(self, generator: VideoGenerator, network: ReconstructionModel, settings: TapSettings) -> None:
        self.generator, self.network, self.settings = generator, network, settings
        self.device = next(network.parameters()).device
        self.latent_statistics = latent_statistics(generator) if settings.normalised else None
        self._noise: dict[tuple[int, int, int], Tensor] = {}

    def __call__(
        self, batch: ClipBatch
    ) -> tuple[Float[Tensor, "batch views rows columns features"], dict[str, TokenState]]:
        """Latent patches and states, on the device of the networks."""
        rows = self.rows(batch)
        return rows.patches, rows.states

    @torch.no_grad()
    def rows(self, batch: ClipBatch) -> Rows:
        """Latent patches, states and the effect of noise, on the device of the networks."""
        frames = batch.on(self.device)[:, : self.settings.frames]
        latents = self._latents(frames, batch.names)
        states = self.network.tokens_at(self.settings.names, frames)
        # Never below float32, whatever the autoencoder computes in: the stitch layer will see them like this.
        latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
        # Of every clip its own mean square: noise is stated relative to the clip that it falls on.
        power = latents.double().square().mean((1, 2, 3, 4)).sum()
        seen = patches(standardise(latents, self.latent_statistics), self.settings.spec)
        return Rows(seen, states, power * self._noise_of(latents))

    def _noise_of(self, latents: Float[Tensor, "batch channels times rows columns"]) -> Tensor:
        """What noise of variance 1 on raw latents of this shape adds for one clip; made once per shape."""
        grid = (latents.shape[2], latents.shape[3], latents.shape[4])
        if grid not in self._noise:
            variances = torch.ones(latents.shape[1], dtype=torch.float64, device=self.device)
            if self.latent_statistics is not None:
                variances = 1 / self.latent_statistics[1].square()
            self._noise[grid] = noise_gram(self.settings.spec, grid, variances)
        return self._noise[grid]

    def _latents(self, frames: Tensor, names: tuple[str, ...]) -> Tensor:
        seed = self.settings.sample_seed
        if seed is None:
            return self.generator.encode(frames)
        # One clip at a time, so that its sample does not depend on the batch.
        samples = [
            self.generator.encode(clip[None], _clip_generator(seed, name, self.device))
            for clip, name in zip(frames, names, strict=True)
        ]
        return torch.cat(samples)


def latent_statistics(generator: VideoGenerator) -> Float[Tensor, "2 channels"]:
    """Mean and standard deviation per channel with which the generator normalises its latents."""
    like = next(generator.parameters())
    zero = torch.zeros(1, generator.channels, 1, 1, 1, dtype=torch.float64, device=like.device)
    # An affine map is known by its values at zero and one.
    mean = generator.denormalise(zero)
    return torch.cat([mean, generator.denormalise(zero + 1) - mean])[:, :, 0, 0, 0]


def _clip_generator(seed: int, name: str, device: torch.device) -> torch.Generator:
    # Seven bytes are always a valid seed.
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little"))
