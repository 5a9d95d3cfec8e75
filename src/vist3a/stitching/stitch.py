"""Join a video generator and a 3D network, and look through the joint: two calls for programs and notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip, Reconstruction
from vist3a.stitching.base import Decoder
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import stitched
from vist3a.stitching.layer_search import find_layer


def stitch(
    generator: VideoGenerator,
    network: ReconstructionModel,
    clips: Sequence[Clip] | Mapping[str, Sequence[Clip]],
    *,
    point: str | None = None,
    **search: Any,
) -> StitchedDecoder:
    """A decoder from latents of ``generator`` to 3D: ``network``, entered where it fits best, in closed form.

    Args:
        generator: A video generator with its autoencoder.
        network: A 3D network on the same device; it becomes part of the decoder.
        clips: As :func:`vist3a.find_layer` takes them.
        point: Where to enter (None: at the complete entry with the highest held-out R^2).
        search: Further options of :func:`vist3a.find_layer`.

    Example:
        >>> decoder = stitch(generator, network, clips)
        >>> scene = reconstruct(clip.frames[None], decoder, generator)
    """
    return find_layer(generator, network, clips, **search).decoder(network, point).eval()


@torch.no_grad()
def reconstruct(
    frames: Float[Tensor, "batch views 3 height width"],
    by: ReconstructionModel | Decoder,
    generator: VideoGenerator | None = None,
) -> Reconstruction:
    """Cameras, depth, points and, where the network has them, Gaussians of frames in [0, 1].

    Args:
        frames: Views of static scenes in smooth order, on the device of the networks.
        by: A 3D network, or a decoder, which sees nothing but the latents of ``generator`` (and, where a head reads the image,
            the frames).
        generator: Whose latents the decoder reads; only for decoders.

    Raises:
        ValueError: A decoder without its generator, or a network with one.
    """
    if isinstance(by, ReconstructionModel) and generator is None:
        return by.reconstruct(frames)
    if isinstance(by, ReconstructionModel) or generator is None:
        raise ValueError("reconstruct: a stitched decoder is allowed with its generator, a 3D network without one")
    return stitched(by, generator)(frames)
