"""Loading the networks of a project for generation."""

from __future__ import annotations

from pathlib import Path

from vist3a.engine.device import resolve_device
from vist3a.engine.text_to_3d import TextTo3D
from vist3a.export.scene import ExportSettings
from vist3a.models.lora import load_lora
from vist3a.models.scorers import DualEncoder
from vist3a.pipelines.distill.params import DistillParams
from vist3a.pipelines.generate.params import GenerateParams
from vist3a.pipelines.networks import Networks
from vist3a.pipelines.stitched import load_decoder
from vist3a.rewards.embedded import reward_from
from vist3a.training.sampling import SamplingConfig

TERMS = ("text_decoded", "text_rendered", "consistency_l1", "consistency_perceptual")


def load_text_to_3d(
    params: GenerateParams, distill: DistillParams, networks: Networks, stitched_decoder: Path, aligned_generator: Path
) -> TextTo3D:
    """Generator (aligned, if the parameters say so), stitched decoder and, where named, the scorer."""
    device = resolve_device(networks.device)
    generator = networks.load_generator("vae", "text", "denoiser")
    if params.aligned:
        load_lora(generator.get_submodule("transformer"), aligned_generator)
    reward = None
    if params.scorer is not None:
        reward = reward_from(DualEncoder.from_pretrained(Path(params.scorer), device), dict.fromkeys(TERMS, 1.0))
    return TextTo3D(
        generator,
        load_decoder(networks, distill, stitched_decoder),
        device,
        SamplingConfig(params.steps, params.guidance, params.frames, params.height, params.width),
        params.seed,
        ExportSettings(
            params.smoothing,
            params.max_gaussians,
            params.min_opacity,
            params.voxel_size,
            params.drop_points,
            params.turntable_frames,
            params.turntable_size,
        ),
        reward,
    )
