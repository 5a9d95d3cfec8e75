"""Layout of convolution weights in memory."""

from __future__ import annotations

import torch
from torch import nn


def channels_last(module: nn.Module) -> None:
    """Store the weights of all convolutions with the channels innermost, which tensor cores read without rearranging.

    Activations follow on the way; results change by rounding only.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)
