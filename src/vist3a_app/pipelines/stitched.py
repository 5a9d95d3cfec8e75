"""Loading a finetuned stitched decoder, ours (the same steps as when it was made) or a published one."""

from __future__ import annotations

from pathlib import Path

from vist3a.generators.base import VideoGenerator
from vist3a.runtime.device import resolve_device
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.released import ReleasedDecoder, load_released
from vist3a.stitching.store import load_fit
from vist3a.stitching.tuning import load_trained, prepare
from vist3a_app.pipelines.distill.params import DistillParams
from vist3a_app.pipelines.networks import Networks


def load_decoder(networks: Networks, distill: DistillParams, folder: Path) -> StitchedDecoder:
    """The decoder that the distill pipeline wrote to ``folder``, frozen."""
    fit, spec = load_fit(folder)
    decoder = StitchedDecoder(networks.load_reconstruction(), spec, fit)
    prepare(decoder, distill.tuning, distill.lora_rank, distill.lora_alpha)
    load_trained(folder, decoder)
    return decoder.requires_grad_(False).eval().to(resolve_device(networks.device))


def load_published_decoder(
    networks: Networks, path: Path, generator: VideoGenerator, size: tuple[int, int]
) -> ReleasedDecoder:
    """The decoder of a file as VIST3A publishes them, for videos of ``size`` (height, width), frozen."""
    network = networks.load_reconstruction()
    _, _, rows, columns = generator.latent_grid(1, *size)
    tokens = network.token_grid(*network.frame_size(*size))
    decoder = load_released(path, network, (rows, columns), tokens, generator.temporal_stride)
    return decoder.to(resolve_device(networks.device))
