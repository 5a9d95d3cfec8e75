"""What workers of generation do, in two rounds: sample latents with the denoiser, then decode them into assets.

All prompts are denoised before any is decoded: the two never share a small GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vist3a.runtime.device import resolve_device
from vist3a.runtime.workers.work import Done, Work
from vist3a.sampling.sampling import SamplingConfig, sample_latents
from vist3a_app.pipelines.generate.kept_scene import KeptScene
from vist3a_app.pipelines.generate.loading import adapt, load_3d_decoding
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.generate.requests import Requests
from vist3a_app.pipelines.networks import Networks


def sampling(
    params: GenerateParams, networks: Networks, stitched_decoder: Path, aligned_generator: Path, asked: Requests
) -> Work[KeptScene, None]:
    """Samples and keeps raw latents; a unit of progress is a denoising step."""
    device, config = resolve_device(networks.device), params.part(SamplingConfig)
    generator = networks.load_generator("vae", "denoiser")
    # A size that the generator does not make concerns all prompts.
    generator.latent_grid(config.frames, config.height, config.width)
    adapt(params, networks, generator, stitched_decoder, aligned_generator)
    if params.offload != "none":
        # The video autoencoder has nothing to do while latents are sampled.
        generator.place("vae", "cpu")
    if params.offload == "layers":
        generator.stream_denoiser(device)
    elif params.accelerate:
        generator.accelerate()
    negative = None if asked.negative is None else asked.negative.to(device)

    def work(scene: KeptScene, done: Done) -> None:
        (latents,) = sample_latents(
            generator, asked.embed, [scene.prompt], config, params.seed, device, negative, after_step=lambda: done(1)
        )
        scene.keep_latents(latents)

    return work


def decoding(params: GenerateParams, networks: Networks, stitched_decoder: Path) -> Work[KeptScene, dict[str, Any]]:
    """Writes the assets of kept latents; gives facts, name and files of the scene."""
    text_to_3d = load_3d_decoding(params, networks, stitched_decoder)

    @torch.no_grad()
    def work(kept: KeptScene, done: Done) -> dict[str, Any]:
        scene = text_to_3d.decode(kept.prompt, kept.latents())
        paths = scene.save(kept.folder.parent)
        files = {kind: path.as_posix() for kind, path in paths.items()}
        record = {**scene.caption.facts, "name": scene.name, "files": files}
        kept.keep_record(record)
        done(1)
        return record

    return work
