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
from vist3a.models.lora import load_lora
from vist3a.pipelines.distill.params import DistillParams
from vist3a.pipelines.generate.params import GenerateParams
from vist3a.pipelines.networks import Networks
from vist3a.pipelines.stitched import load_decoder
from vist3a.rendering import renderer_for
from vist3a.scenes.prompt_list import check_prompts, read_prompts
from vist3a.training.progress import progress
from vist3a.training.sampling import SamplingConfig, decode_scene, sample_latents

logger = logging.getLogger(__name__)


def generate_scenes(
    params: GenerateParams,
    distill: DistillParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
    output: Path,
) -> tuple[dict[str, Any], Tensor]:
    """Writes one folder per prompt into ``output`` (folders of other prompts stay); returns what was written and a picture."""
    if params.prompts_file is None and not (params.prompt or "").strip():
        raise ValueError("generate.prompt is empty; give a text, or generate.prompts_file with one prompt per line")
    prompts = [str(params.prompt)] if params.prompts_file is None else read_prompts(Path(params.prompts_file))
    device = resolve_device(networks.device)
    generator = networks.load_generator("vae", "text", "denoiser")
    check_prompts(prompts, generator)
    if params.aligned:
        load_lora(generator.get_submodule("transformer"), aligned_generator)
    decoder = load_decoder(networks, distill, stitched_decoder)
    config = SamplingConfig(params.steps, params.guidance, params.frames, params.height, params.width)
    render = renderer_for(device)
    scenes, rows = {}, []
    for prompt in progress(prompts, "generate", len(prompts)):
        size = (params.height, params.width)
        (latents,) = sample_latents(generator, [prompt], config, params.seed, device)
        made = decode_scene(generator, decoder, prompt, latents)
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
