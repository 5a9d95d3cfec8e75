"""The adapter of an aligned generator, held against the networks of the parameters."""

from __future__ import annotations

from pathlib import Path

from vist3a.adapters import artifact
from vist3a.adapters.artifact import Aligned
from vist3a.generators.base import VideoGenerator
from vist3a.stitching.store import load_fit
from vist3a.weights.artifact_file import weights_fingerprint
from vist3a_app.pipelines.networks import Networks


def aligned_with(networks: Networks, stitched_decoder: Path | None) -> Aligned:
    """What an adapter is trained with, or is to work with: these networks and this decoder (None: a published one)."""
    if stitched_decoder is None:
        return Aligned(networks.pairing, networks.denoiser)
    fit, _ = load_fit(stitched_decoder)
    return Aligned(networks.pairing, networks.denoiser, weights_fingerprint(stitched_decoder), fit.point)


def load_adapter(networks: Networks, generator: VideoGenerator, folder: Path, stitched_decoder: Path | None) -> None:
    """Put an adapter into the denoiser; ValueError for one of another pairing or denoiser."""
    # Hashing a large denoiser takes a minute: only where there is something to hold the hash against.
    wanted = aligned_with(networks, stitched_decoder) if (folder / artifact.FILE).is_file() else None
    artifact.load_adapter(folder, generator.denoiser, wanted)
