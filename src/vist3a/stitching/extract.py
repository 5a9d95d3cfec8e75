"""One pass over the clips: encode, tap all candidate points, accumulate moments; memory does not grow with the clips.

Only the clips that fit and select are accumulated. Intervals over scenes need errors per scene, which moments cannot give
without a product per scene and point (6 MB each at full size); the held-out clips are therefore left to the score, which meets
them once, with the layers already solved (:mod:`vist3a.stitching.heldout`). Every clip is encoded once in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from vist3a.data.clip_batches import LoadFrames, clip_batches
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import StitchPoint
from vist3a.runtime.bounds import Count, Positive
from vist3a.stitching.grids import Interpolation, PaddingMode, derive_spec
from vist3a.stitching.moments import Moments, moments_of
from vist3a.stitching.tap import Size, Tap, TapSettings

ClipsDone = Callable[[int], None]
"""Called with the number of clips that are newly done."""


@dataclass(frozen=True, kw_only=True)
class TapConfig:
    """How latents meet tokens.

    Attributes:
        kernel: Of the stitch convolution: time, rows, columns.
        stride: Its stride; None: what follows from the two grids.
        padding: Its padding on both sides; None: what follows from the two grids.
        padding_mode: What is padded with.
        interpolation: How latents are resampled where their grid is not the convolution's.
        latents: The posterior's mode, or a sample.
        latent_space: As the autoencoder gives them, or as the denoiser sees them.
        frames: Of each clip so many are seen, the first ones; None: all.
        seed: Draws the samples, by the name of the clip.
    """

    kernel: tuple[Positive, Positive, Positive] = (5, 3, 3)
    stride: tuple[Positive, Positive, Positive] | None = None
    padding: tuple[Count, Count, Count] | None = None
    padding_mode: PaddingMode = "replicate"
    interpolation: Interpolation = "corners"
    latents: Literal["mode", "sample"] = "mode"
    latent_space: Literal["raw", "normalised"] = "raw"
    frames: Positive | None = None
    seed: int = 0


def tap_settings(
    generator: VideoGenerator,
    network: ReconstructionModel,
    points: Sequence[StitchPoint],
    size: Size,
    config: TapConfig | None = None,
) -> TapSettings:
    """Settings for clips of ``size`` (height, width), of which each network sees its own ``frame_size``.

    ``config`` None stands for its defaults.

    Raises:
        ValueError: There is no point to tap, or no convolution leads from one grid to the other.

    Example:
        >>> settings = tap_settings(generator, network, network.stitch_points, (64, 64), TapConfig(kernel=(5, 3, 3)))
    """
    config = config or TapConfig()
    if not points:
        raise ValueError("no stitch point is left to tap (see extract.kinds)")
    _, _, rows, columns = generator.latent_grid(1, *generator.frame_size(*size))
    tokens = network.token_grid(*network.frame_size(*size))
    spec = derive_spec(
        (rows, columns),
        tokens,
        generator.temporal_stride,
        config.kernel,
        config.padding_mode,
        stride=config.stride,
        padding=config.padding,
        interpolation=config.interpolation,
    )
    # Stored with the moments, which must be read with what they were made with.
    sample_seed = config.seed if config.latents == "sample" else None
    return TapSettings(tuple(points), tokens, spec, sample_seed, config.latent_space == "normalised", config.frames)


@torch.no_grad()
def accumulate(
    tap: Tap,
    names: Sequence[str],
    load: LoadFrames,
    *,
    batch: int,
    shard: int | None = None,
    done: ClipsDone = lambda _: None,
) -> Moments:
    """Moments over the named clips, ``batch`` at a time, summed by shards of ``shard`` clips (None: all)."""
    total: Moments | None = None
    for part in cut(names, shard or len(names)):
        moments = _accumulate_shard(tap, part, load, batch, done)
        total = moments if total is None else total + moments
    assert total is not None
    return total


def cut(names: Sequence[str], size: int) -> list[Sequence[str]]:
    """Shards of ``size`` names in their order; ValueError for no name at all."""
    if not names:
        raise ValueError("no clip to extract from: this split is empty (see curate.splits)")
    return [names[start : start + size] for start in range(0, len(names), size)]


def _accumulate_shard(tap: Tap, names: Sequence[str], load: LoadFrames, batch: int, done: ClipsDone) -> Moments:
    total: Moments | None = None
    for clips in clip_batches(names, load, batch, tap.device):
        rows = tap.rows(clips)
        moments = moments_of(rows.patches, rows.states, roles=tap.network.token_roles, noise=rows.noise)
        total = moments if total is None else total + moments
        done(len(clips.names))
    assert total is not None
    return total
