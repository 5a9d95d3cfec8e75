"""Held-out figures of the embedded networks, for their model card."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from vist3a.geometry.normalisation import normalise_scene
from vist3a.metrics.depth import depth_errors
from vist3a.metrics.image import psnr
from vist3a.metrics.pose import pair_errors, trajectory_error
from vist3a.models.generators.base import VideoGenerator
from vist3a.models.reconstruction.base import ReconstructionModel
from vist3a.models.scorers import DualEncoder
from vist3a.rendering.base import Renderer
from vist3a.scenes.procedural import COLOURS, SHAPES, WorldConfig, make_world, sample_prompts
from vist3a.training.progress import progress
from vist3a.training.sampling import SamplingConfig, sample_latents


@torch.no_grad()
def geometry_figures(
    generator: VideoGenerator,
    network: ReconstructionModel,
    render: Renderer,
    world: WorldConfig,
    scenes: int,
    device: torch.device,
) -> dict[str, float]:
    """Autoencoder and reconstruction network on ``scenes`` scenes of a seed that was not trained on.

    ``novel_view_psnr``: views that were not given, rendered from the predicted Gaussians at the true cameras, whose
    translations are scaled by the ratio of mean depths (the network's own scale is free).
    """
    values: dict[str, list[float]] = {}
    for index in progress(range(scenes), "measure networks", scenes):
        batch = make_world(world, [index], device=device)
        frames = batch.rgb[:, : world.frames]
        cameras, depth, _ = normalise_scene(batch.cameras, batch.depth, frames=world.frames)
        decoded = generator.decode(generator.encode(frames))
        output = network.reconstruct(frames)
        errors = depth_errors(output.depth.flatten(1, 2), depth[:, : world.frames].flatten(1, 2))
        seen = cameras[:, : world.frames]
        row = {
            "autoencoder_psnr": psnr(decoded, frames).mean(),
            "depth_absrel": errors.abs_rel.mean(),
            "rotation_deg": pair_errors(output.cameras, seen).rotation.median(),
            "translation_relative": trajectory_error(output.cameras, seen).mean(),
        }
        if output.gaussians is not None:
            pose = cameras.world_to_camera[:, world.frames :].clone()
            pose[..., :3, 3] *= output.depth.mean() / depth[:, : world.frames].mean()
            held_out = type(cameras)(pose, cameras.intrinsics[:, world.frames :])
            image = render(output.gaussians, held_out, (world.height, world.width)).rgb.clamp(0, 1)
            row["novel_view_psnr"] = psnr(image, batch.rgb[:, world.frames :]).mean()
        for name, value in row.items():
            values.setdefault(name, []).append(float(value))
    figures = {f"{name}_mean": sum(v) / len(v) for name, v in values.items()}
    return figures | {f"{name}_median": float(torch.tensor(v).median()) for name, v in values.items()}


@torch.no_grad()
def text_figures(
    generator: VideoGenerator,
    judge: DualEncoder,
    scorers: dict[str, DualEncoder],
    world: WorldConfig,
    config: SamplingConfig,
    prompts: int,
    device: torch.device,
) -> dict[str, float]:
    """Single-object prompts judged by the independent judge, beside its accuracy on true renders; retrieval of the scorers."""
    wanted = sample_prompts(world.seed, prompts, objects=1)
    latents = sample_latents(generator, [prompt.text for prompt in wanted], config, 0, device)
    right = 0
    for prompt, raw in zip(wanted, latents, strict=True):
        right += _sees(judge, generator.decode(raw)[0], prompt.objects[0].colour, prompt.objects[0].shape)
    count = 64
    batch = make_world(world, list(range(count)), device=device)
    single = [i for i, d in enumerate(batch.scenes.descriptions()) if len(d.objects) == 1]
    described = batch.scenes.descriptions()
    true = [_sees(judge, batch.rgb[i], described[i].objects[0].colour, described[i].objects[0].shape) for i in single]
    figures = {
        "text_single_object": right / prompts,
        "judge_single_object_true_renders": sum(true) / len(true),
    }
    for name, scorer in scorers.items():
        images = scorer.embed_images(batch.rgb[:, world.frames // 2])
        similarity = images @ scorer.embed_text(batch.captions).T
        best = similarity.argmax(1).cpu()
        # Two scenes may share a caption: then either is right.
        hits = [batch.captions[int(best[i])] == batch.captions[i] for i in range(count)]
        figures[f"{name}_retrieval_of_{count}"] = sum(hits) / count
    return figures


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every weight file under ``folder``."""
    files = sorted(folder.rglob("*.safetensors"))
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _sees(judge: DualEncoder, frames: torch.Tensor, colour: str, shape: str) -> bool:
    """Whether the judge, averaged over the frames, names this colour and shape for the first object."""
    logits = judge.attributes(frames)
    seen = (int(logits[f"{what}_0"].softmax(-1).mean(0).argmax()) for what in ("colour", "shape"))
    found_colour, found_shape = seen
    return COLOURS[found_colour] == colour and SHAPES[found_shape] == shape
