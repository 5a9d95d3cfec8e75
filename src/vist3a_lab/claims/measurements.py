"""The figures behind the claims, one value per scene or prompt, for one seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vist3a.alignment.generation_scores import Verdict, score_scenes
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.data.ordering import ViewOrder, fill_frames
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.image import psnr
from vist3a.metrics.latent_noise import add_latent_noise
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Reconstruction
from vist3a.records.frame_count import AllowedFrames
from vist3a.rendering.base import Renderer
from vist3a.runtime.loop import step_generator
from vist3a.runtime.progress import progress
from vist3a.stitching.base import Decoder
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import stitched
from vist3a.stitching.unordered import reconstruct_unordered, restored
from vist3a_lab.claims.errors import Truth, geometry_errors, novel_view_errors, novel_view_split
from vist3a_lab.procedural import WorldConfig, make_world
from vist3a_lab.procedural.shifted import Shift, make_shifted

Variants = Mapping[str, Callable[[Tensor], Reconstruction]]
Figures = dict[str, dict[str, list[float]]]
"""By variant and figure: one value per scene."""


@torch.no_grad()
def compare_variants(
    variants: Variants,
    world: WorldConfig,
    scenes: int,
    render: Renderer,
    pixel_step: int,
    allowed: AllowedFrames,
    device: torch.device,
) -> Figures:
    """Geometry from all frames and novel views from two thirds of them, of scenes 0 .. ``scenes`` - 1 (see ``errors``).

    ``allowed`` is the generator's rule of frame counts.
    """
    found: Figures = {}
    for index in progress(range(scenes), "compare with the truth", scenes):
        truth = Truth.of(make_world(world, [index], device=device))
        _compare(found, variants, truth, truth.frames, render, pixel_step, allowed, icp=True)
    return found


@torch.no_grad()
def compare_shifted(
    variants: Variants,
    shift: Shift,
    world: WorldConfig,
    scenes: int,
    render: Renderer,
    pixel_step: int,
    allowed: AllowedFrames,
    device: torch.device,
) -> Figures:
    """As :func:`compare_variants` in a shifted world, without ICP.

    The networks are given what the camera records; novel views are held against the steady pictures without noise, as no
    reconstruction can know how the light of another frame changes.
    """
    found: Figures = {}
    for index in progress(range(scenes), "compare in a shifted world", scenes):
        batch, given = make_shifted(world, [index], shift, device=device)
        _compare(found, variants, Truth.of(batch), given, render, pixel_step, allowed, icp=False)
    return found


@torch.no_grad()
def compare_under_noise(
    generator: VideoGenerator,
    decoders: Mapping[str, Decoder],
    shares: Sequence[float],
    world: WorldConfig,
    scenes: int,
    pixel_step: int,
    device: torch.device,
) -> dict[str, Figures]:
    """Geometry by noise on the latents, of ``shares`` of their root mean square (VIST3A, appendix D.2).

    A scene has the same noise, scaled, for all shares.

    All decoders get the frames decoded from the noisy latents; none sees the true ones.
    """
    found: dict[str, Figures] = {f"{share:g}": {} for share in shares}
    for index in progress(range(scenes), "compare under noise", scenes):
        truth = Truth.of(make_world(world, [index], device=device))
        latents = generator.encode(truth.frames)
        for share in shares:
            # The paper's alpha counts in norms of the whole latent, which grow with the root of its size. The seeds lie far
            # apart, so that worlds of neighboring seeds share no noise.
            noisy = add_latent_noise(latents, share / latents[0].numel() ** 0.5, [world.seed * 100_003 + index])
            frames = generator.decode(noisy)
            for name, decoder in decoders.items():
                rgb = decoder.network.fit(frames)
                output = decoder(noisy, (rgb.shape[-2], rgb.shape[-1]), rgb=rgb)
                _add(found[f"{share:g}"], name, geometry_errors(output, truth, pixel_step))
    return found


def score_generated(
    generator: VideoGenerator,
    decoder: Decoder,
    render: Renderer,
    judge: WeightedSum,
    verdict: Verdict | None,
    prompts: Sequence[str],
    latents: Sequence[Tensor],
) -> dict[str, list[float]]:
    """Scores of generated scenes (see ``score_scenes``), and ``consistency_psnr`` of renderings against decoded frames in dB."""
    scores, pictures = score_scenes(generator, decoder, render, {"judge": judge}, prompts, latents, verdict)
    scores["consistency_psnr"] = [float(psnr(rendered, decoded).mean()) for decoded, rendered in pictures]
    return scores


@torch.no_grad()
def compare_orders(
    original: ReconstructionModel,
    decoder: StitchedDecoder,
    generator: VideoGenerator,
    world: WorldConfig,
    scenes: int,
    pixel_step: int,
    device: torch.device,
) -> Figures:
    """Geometry of the same views in true order, in random order, and in the order that their pictures give.

    Errors are of the views as they came: the permutation is undone first. All errors are free of the world frame, so that it does
    not count which view the network made its first. What a random first view does by itself shows in the original network, which
    knows no order but that; ``stitched_true_backwards`` shows what the direction does, which no pictures can tell.
    """
    found: Figures = {}
    reconstruct = stitched(decoder, generator)
    for index in progress(range(scenes), "compare orders of views", scenes):
        truth = Truth.of(make_world(world, [index], device=device))
        views = truth.frames.shape[1]
        shuffled = fixed_order(torch.randperm(views, generator=step_generator(world.seed, index)).tolist())
        backwards = fixed_order(list(range(views))[::-1])
        given = shuffled.arrange(truth.frames, dim=1)
        outputs = {
            "original_true": original.reconstruct(truth.frames),
            "original_shuffled": restored(original.reconstruct(given), shuffled),
            "stitched_true": reconstruct(truth.frames),
            "stitched_true_backwards": restored(reconstruct(backwards.arrange(truth.frames, dim=1)), backwards),
            "stitched_shuffled": restored(reconstruct(given), shuffled),
            "stitched_ordered": restored(reconstruct_unordered(reconstruct, given, generator.allowed_frames), shuffled),
        }
        for name, output in outputs.items():
            _add(found, name, geometry_errors(output, truth, pixel_step))
    return found


def _compare(
    found: Figures,
    variants: Variants,
    truth: Truth,
    given: Tensor,
    render: Renderer,
    pixel_step: int,
    allowed: AllowedFrames,
    icp: bool,
) -> None:
    """Add what every variant makes of the ``given`` pictures of one scene."""
    sources = list(fill_frames(tuple(novel_view_split(given.shape[1])[0]), allowed))
    for name, reconstruct in variants.items():
        errors = geometry_errors(reconstruct(given), truth, pixel_step, icp=icp)
        errors |= novel_view_errors(reconstruct(given[:, sources]), truth, render, allowed)
        _add(found, name, errors)


def fixed_order(sequence: list[int]) -> ViewOrder:
    """A given sequence of views and the way back."""
    # Sorting the places by their views gives the inverse permutation.
    return ViewOrder(tuple(sequence), tuple(sorted(range(len(sequence)), key=sequence.__getitem__)))


def _add(found: Figures, variant: str, errors: Mapping[str, float]) -> None:
    rows = found.setdefault(variant, {})
    for name, value in errors.items():
        rows.setdefault(name, []).append(value)
