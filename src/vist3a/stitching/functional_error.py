"""How far a stitched, not yet finetuned network's outputs are from the original's: the error that matters, not the fit's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

import torch

from vist3a.metrics.depth import depth_errors
from vist3a.metrics.pose import pair_errors
from vist3a.models.generators.base import VideoGenerator
from vist3a.models.reconstruction.base import ReconstructionModel
from vist3a.records import Clip, Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.stitching.decoder import StitchedDecoder


def output_distance(
    reconstruct: Callable[[torch.Tensor], Reconstruction],
    original: ReconstructionModel,
    clips: Sequence[Clip],
    device: torch.device,
    render: Renderer | None = None,
) -> dict[str, float]:
    """Means over ``clips`` of :func:`clip_distances`."""
    return averaged(clip_distances(reconstruct, original, clips, device, render), fmean)


def averaged(distances: Mapping[str, Sequence[float]], average: Callable[[Sequence[float]], float]) -> dict[str, float]:
    """One figure for all clips of every distance."""
    return {name: average(values) for name, values in distances.items()}


@torch.no_grad()
def clip_distances(
    reconstruct: Callable[[torch.Tensor], Reconstruction],
    original: ReconstructionModel,
    clips: Sequence[Clip],
    device: torch.device,
    render: Renderer | None = None,
) -> dict[str, list[float]]:
    """Distance of ``reconstruct(frames)`` to the original network's outputs, one value per clip.

    ``depth_absrel``: relative depth error (no scale alignment); ``rotation_deg``: mean error of relative rotations;
    ``translation``: mean distance of camera centres; ``points``: mean distance of world points, both in scene units.
    With ``render``, for networks with Gaussians: ``rendered_l1``, mean absolute difference in [0, 1] of both sets of Gaussians
    seen from the original's cameras.
    """
    found: dict[str, list[float]] = {}
    for clip in clips:
        frames = clip.frames[None].to(device)
        output, target = reconstruct(frames), original.reconstruct(frames)
        errors = {
            "depth_absrel": depth_errors(output.depth, target.depth, align=False).abs_rel.mean(),
            "rotation_deg": pair_errors(output.cameras, target.cameras).rotation.mean(),
            "translation": (output.cameras.centers - target.cameras.centers).norm(dim=-1).mean(),
            "points": (output.points - target.points).norm(dim=-1).mean(),
        }
        if render is not None and output.gaussians is not None and target.gaussians is not None:
            size = (target.depth.shape[-2], target.depth.shape[-1])
            seen, wanted = (render(g, target.cameras, size).rgb for g in (output.gaussians, target.gaussians))
            errors["rendered_l1"] = (seen - wanted).abs().mean()
        for name, value in errors.items():
            found.setdefault(name, []).append(float(value))
    return found


def stitched(decoder: StitchedDecoder, generator: VideoGenerator) -> Callable[[torch.Tensor], Reconstruction]:
    """Frames -> latents -> stitched decoder, with the true frames for heads that read the image."""

    def reconstruct(frames: torch.Tensor) -> Reconstruction:
        size = decoder.network.frame_size(frames.shape[-2], frames.shape[-1])
        return decoder(generator.encode(frames), size, rgb=frames)

    return reconstruct


def sequential(original: ReconstructionModel, generator: VideoGenerator) -> Callable[[torch.Tensor], Reconstruction]:
    """The baseline: frames -> latents -> decoded frames -> the original network."""

    def reconstruct(frames: torch.Tensor) -> Reconstruction:
        return original.reconstruct(generator.decode(generator.encode(frames)))

    return reconstruct
