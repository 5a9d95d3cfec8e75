"""How far a stitched, not yet finetuned network's outputs are from the original's: the error that matters, not the fit's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from typing import Protocol, runtime_checkable

import torch

from vist3a.generators.base import VideoGenerator
from vist3a.metrics.depth import depth_errors
from vist3a.metrics.pose import pair_errors
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip, Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.stitching.base import Decoder


@runtime_checkable
class Reconstruct(Protocol):
    """Frames [batch, views, 3, height, width] in [0, 1] to a reconstruction, on request without Gaussians, which take long."""

    def __call__(self, frames: torch.Tensor, with_gaussians: bool = True) -> Reconstruction:
        """Run it."""


def output_distance(
    reconstruct: Reconstruct,
    original: ReconstructionModel,
    clips: Sequence[Clip],
    device: torch.device,
    render: Renderer | None = None,
) -> dict[str, float]:
    """Means over ``clips`` of :func:`clip_distances`."""
    return averaged(clip_distances({"": reconstruct}, original, clips, device, render)[""], fmean)


def output_distances(
    variants: Mapping[str, Reconstruct],
    original: ReconstructionModel,
    clips: Sequence[Clip],
    device: torch.device,
    render: Renderer | None = None,
) -> dict[str, dict[str, float]]:
    """:func:`output_distance` of several ways to reconstruct; the original is run once per clip."""
    found = clip_distances(variants, original, clips, device, render)
    return {name: averaged(distances, fmean) for name, distances in found.items()}


def averaged(distances: Mapping[str, Sequence[float]], average: Callable[[Sequence[float]], float]) -> dict[str, float]:
    """One figure for all clips of every distance."""
    return {name: average(values) for name, values in distances.items()}


def compared(
    before: Mapping[str, Sequence[float]],
    after: Mapping[str, Sequence[float]],
    average: Callable[[Sequence[float]], float],
) -> dict[str, dict[str, float]]:
    """Averages of every distance before and after, and their ratio."""
    first, last = averaged(before, average), averaged(after, average)
    return {"before": first, "after": last, "ratio": {name: last[name] / first[name] for name in first}}


@torch.no_grad()
def clip_distances(
    variants: Mapping[str, Reconstruct],
    original: ReconstructionModel,
    clips: Sequence[Clip],
    device: torch.device,
    render: Renderer | None = None,
    batch: int = 1,
) -> dict[str, dict[str, list[float]]]:
    """Distance of what every variant makes of the frames to the original network's outputs, one value per clip.

    ``depth_absrel``: relative depth error (no scale alignment); ``rotation_deg``: mean error of relative rotations;
    ``translation``: mean distance of camera centres; ``points``: mean distance of world points, both in scene units.
    With ``render``, for networks with Gaussians: ``rendered_l1``, mean absolute difference in [0, 1] of both sets of Gaussians
    seen from the original's cameras. At most ``batch`` neighbouring clips of one shape go through the networks together.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in variants}
    for together in _batches(clips, batch):
        frames = torch.stack([clip.frames for clip in together]).to(device)
        target, wanted = original.reconstruct(frames, with_gaussians=render is not None), None
        size = (target.depth.shape[-2], target.depth.shape[-1])
        for variant, reconstruct in variants.items():
            output = reconstruct(frames, with_gaussians=render is not None)
            errors = {
                "depth_absrel": depth_errors(output.depth, target.depth, align=False).abs_rel,
                "rotation_deg": pair_errors(output.cameras, target.cameras).rotation,
                "translation": (output.cameras.centers - target.cameras.centers).norm(dim=-1),
                "points": (output.points - target.points).norm(dim=-1),
            }
            if render is not None and output.gaussians is not None and target.gaussians is not None:
                # The target is drawn once for all variants.
                if wanted is None:
                    wanted = render(target.gaussians, target.cameras, size).rgb
                errors["rendered_l1"] = (render(output.gaussians, target.cameras, size).rgb - wanted).abs()
            for name, values in errors.items():
                found[variant].setdefault(name, []).extend(values.flatten(1).mean(1).tolist())
    return found


def _batches(clips: Sequence[Clip], size: int) -> Iterator[list[Clip]]:
    # Neighbors alone: the values come out in the order of the clips.
    for _, group in groupby(clips, key=lambda clip: clip.frames.shape):
        alike = list(group)
        yield from (alike[start : start + size] for start in range(0, len(alike), size))


def stitched(decoder: Decoder, generator: VideoGenerator) -> Reconstruct:
    """Frames -> latents -> decoder, with the true frames for heads that read the image."""

    def reconstruct(frames: torch.Tensor, with_gaussians: bool = True) -> Reconstruction:
        size = decoder.network.frame_size(frames.shape[-2], frames.shape[-1])
        return decoder(generator.encode(frames), size, frames, with_gaussians)

    return reconstruct


def sequential(original: ReconstructionModel, generator: VideoGenerator) -> Reconstruct:
    """The baseline: frames -> latents -> decoded frames -> the original network."""

    def reconstruct(frames: torch.Tensor, with_gaussians: bool = True) -> Reconstruction:
        return original.reconstruct(generator.decode(generator.encode(frames)), with_gaussians)

    return reconstruct
