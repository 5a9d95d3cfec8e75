"""Prompts -> 3D assets."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vist3a.export.video import image_sheet
from vist3a.records import Condition
from vist3a.records.condition import Embed
from vist3a.runtime.device import resolve_device
from vist3a.runtime.progress import counting
from vist3a.runtime.step_log import step_log
from vist3a.sampling.sampling import SamplingConfig, sample_latents
from vist3a_app.pipelines.generate.loading import adapt, load_3d_decoding
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.generate.requests import requests
from vist3a_app.pipelines.networks import Networks

logger = logging.getLogger(__name__)


def generate_scenes(
    params: GenerateParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
    output: Path,
    text_embeddings: Path,
) -> tuple[dict[str, Any], Tensor, Callable[[Path], None]]:
    """Writes one folder per prompt into ``output`` (folders of other prompts stay); returns what was written, a picture and
    the first viewers.
    """
    names, embed, negative = requests(params, networks, text_embeddings)
    # All prompts are denoised before any is decoded: the two never share a small GPU.
    latents = _sample(params, networks, stitched_decoder, aligned_generator, names, embed, negative)
    decoding = load_3d_decoding(params, networks, stitched_decoder)
    scenes, rows, viewers, scores = {}, [], {}, []
    log = step_log("generate")
    for place, name in enumerate(names):
        scene = decoding.decode(name, latents[name])
        paths = scene.save(output)
        logger.info("%r is in %s: %s", name[:100], output / scene.name, ", ".join(path.name for path in paths.values()))
        files = {kind: path.as_posix() for kind, path in paths.items()}
        scores.append({fact: value for fact, value in scene.caption.facts.items() if isinstance(value, float)})
        log(place, scores[-1])
        scenes[name] = {**scene.caption.facts, "name": scene.name, "files": files}
        rows.append(scene.picture())
        viewers[scene.name] = paths["viewer"]
    step_log("generate/mean")(0, {name: sum(row[name] for row in scores) / len(scores) for name in scores[0]})
    recorded = dict(list(viewers.items())[: params.recorded_viewers])
    if len(recorded) < len(viewers):
        logger.info("%d of %d viewers go into the record (generate.recorded_viewers)", len(recorded), len(viewers))

    def copy(folder: Path) -> None:
        for name, viewer in recorded.items():
            shutil.copyfile(viewer, folder / f"{name}.html")

    return {"scenes": scenes}, image_sheet(torch.stack(rows), columns=1), copy


def _sample(
    params: GenerateParams,
    networks: Networks,
    stitched_decoder: Path,
    aligned_generator: Path,
    names: list[str],
    embed: Embed,
    negative: Condition | None,
) -> dict[str, Tensor]:
    """Raw latents by name, in host memory; the denoiser is gone afterwards."""
    device = resolve_device(networks.device)
    generator = networks.load_generator("vae", "denoiser")
    adapt(params, networks, generator, stitched_decoder, aligned_generator)
    if params.offload != "none":
        # The video autoencoder has nothing to do while latents are sampled.
        generator.place("vae", "cpu")
    if params.offload == "layers":
        generator.stream_denoiser(device)
    elif params.accelerate:
        generator.accelerate()
    config = params.part(SamplingConfig)
    with counting("denoise", len(names) * params.steps) as done:
        return {
            name: sample_latents(
                generator, embed, [name], config, params.seed, device, negative, after_step=lambda: done(1)
            )[0].cpu()
            for name in names
        }
