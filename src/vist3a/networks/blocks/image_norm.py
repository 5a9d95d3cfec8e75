"""What frames are before any network sees them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise_images(frames: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch 3 height width"]:
    """ImageNet normalisation of RGB in [0, 1], with constants that no cast of the network can round."""
    frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
    channels = zip(frames.unbind(-3), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    return torch.stack([(channel - mean) / std for channel, mean, std in channels], dim=-3)
