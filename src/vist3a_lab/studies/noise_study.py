"""Does the best layer move with noise on the latents, and what does noise make of the stitched network's outputs?

A generator's latents are never exactly on the encoder's manifold. Every level of noise has layers of its own, fitted for it,
beside those that were fitted on clean latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from vist3a.generators.base import VideoGenerator
from vist3a.metrics.latent_noise import add_latent_noise
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip, Reconstruction
from vist3a.stitching.base import Decoder
from vist3a.stitching.functional_error import Reconstruct, output_distances
from vist3a.stitching.layer_search import LayerSearch
from vist3a.stitching.search import Solved
from vist3a.stitching.sequential import SequentialDecoder

FIRST = "decoding first"
"""The baseline among the outputs."""


def r2_under_noise(clean: LayerSearch, solved: Mapping[float, Mapping[str, Solved]]) -> dict[str, dict[str, Any]]:
    """By share of noise: held-out R^2 of every point for the layers that were fitted for it (``fitted``) and for the clean ones
    (``clean_fit``), and the complete entry with the highest of either (``best``, ``best_clean_fit``).

    ``solved`` are the layers by the share that they were fitted for.
    """
    entries = [point.name for point in clean.settings.points if point.complete]
    found: dict[str, dict[str, Any]] = {}
    for share, layers in solved.items():
        fitted = replace(clean, solved=layers, noise=share).under_noise((share,))[share]
        kept = clean.under_noise((share,))[share]
        best, best_kept = (max(entries, key=values.__getitem__) for values in (fitted, kept))
        found[f"{share:g}"] = {"fitted": fitted, "clean_fit": kept, "best": best, "best_clean_fit": best_kept}
    return found


def outputs_under_noise(
    generator: VideoGenerator,
    original: ReconstructionModel,
    decoders: Mapping[str, Decoder],
    clips: Sequence[Clip],
    share: float,
    seed: int,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Distance of what decoders make of noisy latents to what the original network makes of the true frames, by decoder.

    ``decoding first`` stands beside them. Every clip and decoder has the same noise, drawn from ``seed``.
    """
    variants = {
        name: noisy(decoder, generator, share, seed)
        for name, decoder in {FIRST: SequentialDecoder(original), **decoders}.items()
    }
    return output_distances(variants, original, clips, device)


def noisy(decoder: Decoder, generator: VideoGenerator, share: float, seed: int) -> Reconstruct:
    """Frames -> latents with noise of a share of their root mean square -> decoder, with the frames decoded from these."""

    def reconstruct(frames: torch.Tensor, with_gaussians: bool = True) -> Reconstruction:
        latents = generator.encode(frames)
        latents = add_latent_noise(latents, share / latents[0].numel() ** 0.5, [seed] * len(latents))
        rgb = decoder.network.fit(generator.decode(latents))
        return decoder(latents, (rgb.shape[-2], rgb.shape[-1]), rgb, with_gaussians)

    return reconstruct


def noise_statement(noise: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Whether the best point moves, sentence by sentence; ``noise`` is ``{seed: {share: what r2_under_noise found}}``."""
    shares = sorted(next(iter(noise.values())), key=float)
    sentences = []
    for kind, words in (("best", "fitted for the noise"), ("best_clean_fit", "fitted on clean latents")):
        first = {seed: found[shares[0]][kind] for seed, found in noise.items()}
        moved = []
        for share in shares[1:]:
            others = [found[share][kind] for seed, found in noise.items() if found[share][kind] != first[seed]]
            if others:
                names = ", ".join(f"`{name}`" for name in dict.fromkeys(others))
                moved.append(f"at {float(share):.0%} to {names} in {len(others)} of {len(noise)} sets of scenes")
        where = ", ".join(f"`{name}`" for name in dict.fromkeys(first.values()))
        sentences.append(
            f"Of layers {words} the best entry is {where} without noise, and "
            + (f"moves: {'; '.join(moved)}." if moved else f"stays there up to noise of {float(shares[-1]):.0%}.")
        )
    return sentences
