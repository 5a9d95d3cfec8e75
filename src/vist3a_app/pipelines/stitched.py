"""Loading a finetuned stitched decoder, ours or a published one."""

from __future__ import annotations

from pathlib import Path

from vist3a.generators.base import VideoGenerator
from vist3a.runtime.device import resolve_device
from vist3a.stitching import artifact
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.released import ReleasedDecoder, load_released
from vist3a_app.pipelines.networks import Networks


def load_decoder(networks: Networks, folder: Path) -> StitchedDecoder:
    """The decoder that the distill pipeline wrote to ``folder``, frozen; ValueError for one of another pairing."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing; `kedro run --pipelines=stitch` makes it")
    decoder = artifact.load_decoder(folder, networks.load_reconstruction(), networks.pairing)
    return decoder.to(resolve_device(networks.device))


def load_published_decoder(
    networks: Networks, path: Path, generator: VideoGenerator, size: tuple[int, int]
) -> ReleasedDecoder:
    """The decoder of a file as VIST3A publishes them, for videos of ``size`` (height, width), frozen."""
    network = networks.load_reconstruction()
    # Published files do not say for which grids they are: these follow from the frames.
    _, _, rows, columns = generator.latent_grid(1, *size)
    tokens = network.token_grid(*network.frame_size(*size))
    decoder = load_released(path, network, (rows, columns), tokens, generator.temporal_stride)
    return decoder.to(resolve_device(networks.device))
