"""Prompts -> 3D assets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vist3a.engine.device import resolve_device
from vist3a.export.scene import save_scene, scene_name
from vist3a.export.turntable import render_path
from vist3a.export.video import image_sheet
from vist3a.models.lora import load_lora, merge_lora
from vist3a.pipelines.distill.params import DistillParams
from vist3a.pipelines.generate.params import GenerateParams
from vist3a.pipelines.generate.requests import requests
from vist3a.pipelines.networks import Networks
from vist3a.pipelines.stitched import load_decoder, load_published_decoder
from vist3a.records import Condition
from vist3a.rendering import renderer_for
from vist3a.training.progress import progress
from vist3a.training.sampling import Decoder, Embed, SamplingConfig, decode_scene, sample_latents

logger = logging.getLogger(__name__)


def generate_scenes(
    params: GenerateParams,
    distill: DistillParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
    output: Path,
    text_embeddings: Path,
) -> tuple[dict[str, Any], Tensor]:
    """Writes one folder per prompt into ``output`` (folders of other prompts stay); returns what was written and a picture."""
    device = resolve_device(networks.device)
    names, embed, negative = requests(params, networks, text_embeddings)
    latents = _sample(params, networks, aligned_generator, names, embed, negative)
    generator, render, size = networks.load_generator("vae"), renderer_for(device), (params.height, params.width)
    if params.tiling:
        generator.save_memory()
    if params.released_decoder is None:
        decoder: Decoder = load_decoder(networks, distill, stitched_decoder)
    else:
        decoder = load_published_decoder(networks, Path(params.released_decoder), generator, size)
    if params.accelerate:
        generator.accelerate()
        decoder.network.accelerate()
    scenes, rows = {}, []
    for prompt in progress(names, "decode", len(names)):
        made = decode_scene(generator, decoder, prompt, latents[prompt].to(device))
        size = (made.frames.shape[-2], made.frames.shape[-1])
        folder = output / scene_name(prompt, params.seed)
        paths = save_scene(
            folder, prompt, made.frames, made.scene, render, params.turntable_frames, params.turntable_size
        )
        logger.info("%r is in %s: %s", prompt, folder, ", ".join(path.name for path in paths.values()))
        scenes[prompt] = {name: path.as_posix() for name, path in paths.items()}
        ends = [0, -1]
        row = made.frames[0, ends]
        if made.scene.gaussians is not None:
            row = torch.cat([row, render_path(made.scene.gaussians, made.scene.cameras[0, ends], size, render)])
        rows.append(row)
    return scenes, image_sheet(torch.cat(rows), columns=len(rows[0]))


def _sample(
    params: GenerateParams,
    networks: Networks,
    aligned_generator: Path,
    names: list[str],
    embed: Embed,
    negative: Condition | None,
) -> dict[str, Tensor]:
    """Raw latents by name, in host memory; the denoiser is gone afterwards."""
    device = resolve_device(networks.device)
    generator = networks.load_generator("vae", "denoiser")
    if params.adapter is not None:
        load_lora(generator.denoiser, Path(params.adapter).expanduser())
    elif params.aligned:
        load_lora(generator.denoiser, aligned_generator)
    if params.adapter is not None or params.aligned:
        merge_lora(generator.denoiser)
    if params.offload != "none":
        generator.place("vae", "cpu")
    if params.offload == "layers":
        generator.stream_denoiser(device)
    elif params.accelerate:
        generator.accelerate()
    config = SamplingConfig(
        params.steps, params.guidance, params.frames, params.height, params.width, params.flow_shift
    )
    return {
        name: sample_latents(generator, embed, [name], config, params.seed, device, negative)[0].cpu()
        for name in progress(names, "denoise", len(names))
    }
