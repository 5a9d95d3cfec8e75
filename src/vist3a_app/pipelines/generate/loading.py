"""Loading the networks of a project for generation."""

from __future__ import annotations

from pathlib import Path

from vist3a.adapters.lora import merge_lora
from vist3a.alignment.reward_models import load_feature_scorer
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.export.scene import ExportSettings
from vist3a.generation.improvement import ImprovementSettings
from vist3a.generation.text_to_3d import TextTo3D
from vist3a.generators.base import VideoGenerator
from vist3a.runtime.device import resolve_device
from vist3a.sampling.sampling import SamplingConfig
from vist3a.stitching.base import Decoder
from vist3a_app.pipelines.aligned import load_adapter
from vist3a_app.pipelines.generate.params import GenerateParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.stitched import load_decoder, load_published_decoder

TERMS = ("text_decoded", "text_rendered", "consistency_l1", "consistency_perceptual")


def load_text_to_3d(
    params: GenerateParams, networks: Networks, stitched_decoder: Path, aligned_generator: Path
) -> TextTo3D:
    """Everything at once, for many prompts in memory: text encoder, denoiser (adapted), video and stitched decoder, scorer."""
    generator = networks.load_generator("vae", "text", "denoiser")
    adapt(params, networks, generator, stitched_decoder, aligned_generator)
    if params.accelerate:
        generator.accelerate()
    return with_decoder(params, networks, stitched_decoder, generator)


def load_3d_decoding(params: GenerateParams, networks: Networks, stitched_decoder: Path) -> TextTo3D:
    """Only what turns latents into scenes; it decodes and cannot generate."""
    generator = networks.load_generator("vae")
    if params.accelerate:
        generator.accelerate()
    return with_decoder(params, networks, stitched_decoder, generator)


def adapt(
    params: GenerateParams,
    networks: Networks,
    generator: VideoGenerator,
    stitched_decoder: Path,
    aligned_generator: Path,
) -> None:
    """Put the adapter that the parameters name, if any, into the denoiser; ValueError for one of another pairing."""
    if params.adapter is None and not params.aligned:
        return
    folder = aligned_generator if params.adapter is None else Path(params.adapter)
    # A published decoder has no fingerprint that an adapter could name.
    load_adapter(networks, generator, folder, stitched_decoder if params.released_decoder is None else None)
    # Nothing is trained any more: merged, the adapter costs no time.
    merge_lora(generator.denoiser)


def with_decoder(
    params: GenerateParams,
    networks: Networks,
    stitched_decoder: Path,
    generator: VideoGenerator,
) -> TextTo3D:
    """``generator`` with the stitched decoder and, where named, the scorer."""
    device = resolve_device(networks.device)
    if params.tiling:
        generator.save_memory()
    if params.released_decoder is None:
        decoder: Decoder = load_decoder(networks, stitched_decoder)
    else:
        size = (params.height, params.width)
        decoder = load_published_decoder(networks, Path(params.released_decoder), generator, size)
    if params.accelerate:
        decoder.network.accelerate()
    reward = None
    if params.scorer is not None:
        reward = reward_from(load_feature_scorer(Path(params.scorer), device), dict.fromkeys(TERMS, 1.0))
    return TextTo3D(
        generator,
        decoder,
        device,
        params.part(SamplingConfig),
        params.seed,
        params.part(ExportSettings),
        reward,
        asked=networks.asked,
        negative_prompt=networks.generator.negative_prompt,
        improvement=params.part(ImprovementSettings),
    )
