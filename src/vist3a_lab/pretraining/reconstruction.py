"""Embedded reconstruction network: AnySplat's architecture trained with exact geometry.

Few views of many scenes with matching supervision come first (poses are learned there), then all views with rendering, first with
true cameras in the unprojection, later with predicted ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.geometry.normalisation import normalise_scene
from vist3a.geometry.pose_encoding import encoding_from_cameras, encodings_of
from vist3a.geometry.projection import unproject_depth
from vist3a.networks.anysplat import AnySplat
from vist3a.records import Cameras, Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.step_log import Log
from vist3a_lab.pretraining.matching import MatchingHeads, correspondences
from vist3a_lab.pretraining.scene_bank import SceneBank
from vist3a_lab.pretraining.view_schedule import ViewSchedule


@dataclass(frozen=True)
class ReconstructionLossWeights:
    """Loss weights. ``confidence`` is alpha of the confidence-weighted depth loss (VGGT)."""

    camera: float = 5.0
    depth: float = 1.0
    depth_gradient: float = 0.5
    confidence: float = 0.03
    points: float = 2.0
    match: float = 0.15
    soft_argmax: float = 0.5
    locate: float = 2.0
    render_mse: float = 12.0
    render_l1: float = 1.0


class TrainingHeads(nn.Module):
    """Heads used only while training: matching, and a coarse point per token."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.matching = MatchingHeads(widths)
        self.points = nn.Linear(list(widths.values())[-1], 3)


def camera_loss(
    encodings: Float[Tensor, "iterations batch views 9"], truth: Float[Tensor, "batch views 9"]
) -> Float[Tensor, ""]:
    """L1 on translation, quaternion (x2) and field of view (x0.5), later refinement iterations weighing more (0.6^k)."""
    error = (encodings - truth).abs()
    parts = error[..., :3].mean((1, 2, 3)) + 2 * error[..., 3:7].mean((1, 2, 3)) + 0.5 * error[..., 7:].mean((1, 2, 3))
    decay = 0.6 ** torch.arange(len(parts) - 1, -1, -1, device=parts.device, dtype=parts.dtype)
    return (parts * decay).sum() / decay.sum()


def depth_losses(
    depth: Float[Tensor, "batch views h w"],
    confidence: Float[Tensor, "batch views h w"],
    truth: Float[Tensor, "batch views h w"],
    alpha: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Confidence-weighted |log depth| error and L1 of the log-depth gradient."""
    # The logarithm needs a floor while the head is untrained.
    error = depth.clamp(min=1e-4).log() - truth.log()
    # Low confidence makes an error cheap; its logarithm keeps it from being low everywhere.
    weighted = (confidence * error.abs() - alpha * confidence.log()).mean()
    gradient = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return weighted, gradient


def rendering_loss(
    output: Reconstruction, render: Renderer, cameras: Cameras, target: Tensor, own_poses: Cameras | None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """MSE and L1 of views rendered from the predicted Gaussians; ``own_poses`` replaces the predicted cameras when given."""
    gaussians = output.gaussians
    if gaussians is None:
        raise RuntimeError("rendering loss of a reconstruction without Gaussians")
    if own_poses is not None:
        # With the cameras given, only the depth moves the Gaussians.
        points = unproject_depth(output.depth, own_poses)
        gaussians = dataclasses.replace(gaussians, means=points.flatten(1, 3))
    image = render(gaussians, cameras, (target.shape[-2], target.shape[-1])).rgb
    return (image - target).square().mean(), (image - target).abs().mean()


def train_reconstruction(
    model: AnySplat,
    bank: SceneBank,
    loop: LoopConfig,
    schedule: ViewSchedule,
    weights: ReconstructionLossWeights,
    *,
    watch: tuple[str, ...],
    render: Renderer | None,
    seed: int,
    checkpoint: Path | None,
    compile_model: bool = False,
    log: Log | None = None,
    max_seconds: float | None = None,
) -> int:
    """Train ``model`` in place; returns the number of steps done so far.

    ``watch`` names the points that are supervised with matching (the last one also predicts coarse points). Without ``render``
    there is no rendering loss and the Gaussian head stays untrained.
    """
    device = bank.device
    model.requires_grad_(True).train().to(device)
    heads = TrainingHeads({name: model.stitch_point(name).width for name in watch}).to(device)
    if compile_model:
        # The heads work on whole images: their many small operations cost more than the trunk's large ones.
        for head in (model.depth_head, model.gaussian_param_head, model.camera_head, heads.matching):
            head.compile(dynamic=False)
    trunk = torch.compile(model.trunk, dynamic=False) if compile_model else model.trunk
    size = (bank.rgb.shape[-2], bank.rgb.shape[-1])

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        generator = step_generator(seed, step, device)
        bank.refresh(step)
        full = schedule.is_full(step, loop.steps)
        batch, views = (schedule.full_batch, schedule.full_views) if full else (schedule.few_batch, schedule.few_views)
        scenes = bank.draw(batch, generator)
        # The same places in all clips of the batch, whose paths differ.
        chosen = _choose_views(views, bank.frames, schedule.max_stride, generator, device)
        rendering = render is not None and schedule.renders(step, loop.steps)
        held_out = _held_out(bank, schedule.rendered_views, generator) if rendering else chosen[:0]
        # First camera as world, mean distance 1, as VGGT is trained; the view drawn first is that camera.
        cameras, depth, scale = normalise_scene(bank.cameras(scenes, chosen), bank.depth_of(scenes, chosen))
        frames = bank.rgb[scenes[:, None], chosen].float() / 255
        truth = encoding_from_cameras(cameras, *size)
        # The trunk alone in half precision; heads and losses on geometry stay in float32.
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            taps, states = trunk(frames, keep=watch)
        output = model.heads(taps, size, rgb=frames, with_gaussians=rendering)
        matching = heads.matching(
            [states[name].patch_tokens for name in watch], correspondences(depth, cameras, model.patch_size)
        )
        # A coarse point per token gives the trunk a goal in space without the dense heads.
        half = model.patch_size // 2
        world = unproject_depth(depth, cameras)[:, :, half :: model.patch_size, half :: model.patch_size]
        coarse = (heads.points(states[watch[-1]].patch_tokens.float()) - world).abs().mean()
        depth_term, gradient_term = depth_losses(output.depth, output.depth_confidence, depth, weights.confidence)
        camera_term = camera_loss(encodings_of(output), truth)
        loss = (
            weights.camera * camera_term
            + weights.depth * depth_term
            + weights.depth_gradient * gradient_term
            + weights.points * coarse
            + weights.match * matching["match"]
            + weights.soft_argmax * matching["soft_argmax"]
            + weights.locate * matching["locate"]
        )
        error = (output.depth.detach() / depth - 1).abs().median()
        parts = {"camera": camera_term, "depth_absrel": error, "points": coarse, **matching}
        if rendering and render is not None:
            own = schedule.own_poses(step, loop.steps)
            target = bank.rgb[scenes[:, None], held_out].float() / 255
            # Views to render are put into the normalized world that the network was given.
            seen_from = _in_frame_of(bank.cameras(scenes, held_out), bank.cameras(scenes, chosen[:1]), scale)
            mse, l1 = rendering_loss(output, render, seen_from, target, None if own else cameras)
            loss = loss + weights.render_mse * mse + weights.render_l1 * l1
            parts[f"render_psnr/{'own' if own else 'true'}_poses"] = -10 * torch.log10(mse)
        return loss, {k: v.detach() for k, v in parts.items()}

    done = TrainingLoop({"model": model, "heads": heads}, loop, checkpoint).run(step_loss, log, max_seconds)
    model.requires_grad_(False).eval()
    return done


def _choose_views(views: int, frames: int, max_stride: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Indices of ``views`` equally spaced frames, random stride, offset and direction."""
    limit = max(1, min(max_stride, (frames - 1) // max(1, views - 1)))
    stride = int(torch.randint(1, limit + 1, (), generator=generator, device=device))
    first = int(torch.randint(frames - stride * (views - 1), (), generator=generator, device=device))
    indices = first + stride * torch.arange(views, device=device)
    return indices.flip(0) if bool(torch.rand((), generator=generator, device=device) < 0.5) else indices


def _in_frame_of(cameras: Cameras, first: Cameras, scale: Tensor) -> Cameras:
    """``cameras`` with camera ``first`` [batch, 1] as world frame and lengths divided by ``scale``."""
    pose = cameras.world_to_camera @ first.camera_to_world
    moved = torch.cat([pose[..., :3, 3:] / scale.view(-1, 1, 1, 1), pose[..., 3:, 3:]], dim=-2)
    return Cameras(torch.cat([pose[..., :3], moved], dim=-1), cameras.intrinsics)


def _held_out(bank: SceneBank, count: int, generator: torch.Generator) -> Tensor:
    """Views to render: all but one from the held-out views of the bank, one from the input frames."""
    extra = torch.randperm(bank.views - bank.frames, generator=generator, device=bank.device)[: count - 1] + bank.frames
    seen = torch.randint(bank.frames, (1,), generator=generator, device=bank.device)
    return torch.cat([extra, seen])
