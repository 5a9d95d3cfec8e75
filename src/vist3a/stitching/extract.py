"""One pass over the clips: encode, tap all candidate points, accumulate moments; memory does not grow with the clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from vist3a.models.generators.base import VideoGenerator
from vist3a.models.reconstruction.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.stitching.grids import StitchSpec, derive_spec, patches
from vist3a.stitching.moments import Moments, moments_of


def spec_for(
    generator: VideoGenerator,
    network: ReconstructionModel,
    size: tuple[int, int],
    kernel: tuple[int, int, int],
    padding_mode: str,
) -> StitchSpec:
    """Stitch layer shape for clips of ``size`` (height, width), of which each network sees its own ``frame_size``."""
    if padding_mode not in ("zeros", "replicate"):
        raise ValueError(f"extract.padding_mode: {padding_mode!r}; allowed: zeros, replicate")
    _, _, rows, columns = generator.latent_grid(1, *generator.frame_size(*size))
    return derive_spec(
        (rows, columns),
        network.token_grid(*network.frame_size(*size)),
        generator.temporal_stride,
        kernel,
        padding_mode,  # type: ignore[arg-type]
    )


@torch.no_grad()
def accumulate(
    clips: Iterable[Clip],
    generator: VideoGenerator,
    network: ReconstructionModel,
    points: Sequence[str],
    spec: StitchSpec,
    device: torch.device,
    sample_seed: int | None = None,
) -> Moments:
    """Moments over ``clips``. Latents are the posterior mode, or samples that depend on (seed, clip name) only."""
    total: Moments | None = None
    for clip in clips:
        frames = clip.frames[None].to(device)
        random = None if sample_seed is None else _clip_generator(sample_seed, clip.name, device)
        latents = generator.encode(frames, random)
        moments = moments_of(patches(latents.float(), spec), network.tokens_at(points, frames))
        total = moments if total is None else total + moments
    if total is None:
        raise ValueError("no clip to extract from: this split is empty (see curate.splits)")
    return total


def _clip_generator(seed: int, name: str, device: torch.device) -> torch.Generator:
    import hashlib

    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=7).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest, "little"))
