"""A checkpoint in the layout of the stitched decoders that VIST3A publishes, with random values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vist3a.networks.anysplat import AnySplat


def published_name(name: str, first: int) -> str | None:
    """What the published code calls a module of ours; None for those it deleted before adding factors."""
    place = "aggregator.patch_embed."
    if name.startswith(f"{place}blocks."):
        number, _, rest = name.removeprefix(f"{place}blocks.").partition(".")
        return None if int(number) < first else f"encoder.{place}blocks.{int(number) - first}.{rest}"
    return None if name.startswith(f"{place}patch_embed") else f"encoder.{name}"


def published(network: AnySplat, first: int, rank: int, scale: float = 0.2) -> dict[str, Any]:
    """A checkpoint of that layout with factors for every linear layer and square convolution."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, generator=random, dtype=torch.float64)

    lora = {}
    for name, module in network.named_modules():
        other = published_name(name, first)
        if other is None:
            continue
        if isinstance(module, nn.Linear):
            lora |= {
                f"{other}.lora_A": draw(rank, module.in_features),
                f"{other}.lora_B": draw(module.out_features, rank),
            }
        elif isinstance(module, nn.Conv2d):
            k = module.kernel_size[0]
            lora |= {
                f"{other}.lora_A": draw(rank * k, module.in_channels * k),
                f"{other}.lora_B": draw(module.out_channels * k, rank * k),
            }
        else:
            continue
        if module.bias is not None:
            lora[f"{other}.bias"] = draw(*module.bias.shape)
    width = network.config.embed_dim
    return {
        "lora": lora,
        "stitching_layer": {"weight": draw(width, 4, 5, 3, 3), "bias": draw(width)},
        "cls_token": draw(1, 1, width),
        "register_tokens": draw(1, network.config.num_registers, width),
        "mask_token": draw(1, width),
    }
