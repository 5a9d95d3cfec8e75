"""Stitched decoders as VIST3A publishes them (``anysplat_stitched.pth``): read only, merged into an AnySplat.

Such a file is a dictionary of ``lora`` (low-rank factors and biases by the names of the published AnySplat, whose encoder blocks
are counted from the stitch on), ``stitching_layer`` (weight and bias of a Conv3d), ``cls_token``, ``register_tokens`` and
``mask_token``. Entry is as published too: see ``ReleasedEntry``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.networks.base import ReconstructionModel, ReleasedEntry
from vist3a.records import Reconstruction, StitchFit
from vist3a.stitching.grids import derive_spec
from vist3a.stitching.layer import StitchLayer
from vist3a.weights.weight_files import read_pickled

# Published: r64, alpha 32; rank is read off the factors.
ALPHA = 32.0
PREFIX = "encoder."
BLOCK = re.compile(r"(aggregator\.patch_embed\.blocks\.)(\d+)(\..*)")
ENTRIES = ("lora", "stitching_layer", "cls_token", "register_tokens", "mask_token")


class ReleasedDecoder(nn.Module):
    """Reads raw video latents as 3D, like :class:`StitchedDecoder`, through a published checkpoint."""

    def __init__(self, network: ReconstructionModel, layer: StitchLayer, first_block: int) -> None:
        super().__init__()
        self.network, self.layer, self.first_block = network, layer, first_block

    @property
    def needs_rgb(self) -> bool:
        """Whether a head reads the image."""
        return self.network.needs_rgb

    @property
    def geometry_needs_rgb(self) -> bool:
        """Whether a head reads the image even where no Gaussians are asked for."""
        return self.network.geometry_needs_rgb

    def forward(
        self,
        latents: Float[Tensor, "batch channels times rows columns"],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction of raw latents; ``rgb`` in [0, 1] for the Gaussian head."""
        return enters_as_published(self.network).reconstruct_released(
            self.layer(latents), self.first_block, size, rgb, with_gaussians
        )


def enters_as_published(network: ReconstructionModel) -> ReleasedEntry:
    """``network`` as what published stitched decoders need.

    Raises:
        ValueError: It has not that capability.
    """
    if not isinstance(network, ReleasedEntry):
        raise ValueError(
            f"published stitched decoders enter a network by reconstruct_released, which {type(network).__name__} has not; "
            "allowed: a network that has it, as AnySplat"
        )
    return network


def load_released(
    path: Path,
    network: ReconstructionModel,
    latent_grid: tuple[int, int],
    token_grid: tuple[int, int],
    temporal_stride: int,
    first_block: int = 2,
    alpha: float = ALPHA,
) -> ReleasedDecoder:
    """The decoder of a published file on ``network``, which is changed: the low-rank factors are added to its weights.

    ``first_block`` encoder blocks are replaced (2 in all published files). ValueError when the file is of another layout or
    another network; what a pickle might execute is never run.
    """
    content = read_pickled(path)
    if not isinstance(content, Mapping) or any(name not in content for name in ENTRIES):
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"{path} holds {found}; allowed: a stitched decoder with {', '.join(ENTRIES)}")
    try:
        enters_as_published(network)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    changes = _renumbered(content["lora"], first_block)
    changes |= {f"aggregator.patch_embed.{name}": content[name] for name in ENTRIES[2:]}
    _apply(network, changes, alpha, path)
    weight, bias = content["stitching_layer"]["weight"], content["stitching_layer"]["bias"]
    spec = derive_spec(latent_grid, token_grid, temporal_stride, tuple(weight.shape[2:]), "replicate")
    # No special tokens of its own: the network's, changed above, are those of the file.
    fit = StitchFit("released", weight.float(), bias.float(), None, torch.zeros(2, 0, len(weight)), 0.0)
    decoder = ReleasedDecoder(network, StitchLayer(spec, fit), first_block)
    return decoder.requires_grad_(False).eval()


def _renumbered(state: Mapping[str, Tensor], first_block: int) -> dict[str, Tensor]:
    """Names as the whole network has them."""
    found = {}
    for key, value in state.items():
        name = key.removeprefix(PREFIX)
        if match := BLOCK.fullmatch(name):
            name = f"{match[1]}{int(match[2]) + first_block}{match[3]}"
        found[name] = value
    return found


@torch.no_grad()
def _apply(network: nn.Module, changes: Mapping[str, Tensor], alpha: float, path: Path) -> None:
    """Add ``alpha / rank * B A`` to the weights and put the other tensors in their places."""
    own = dict(network.named_parameters())
    for name, value in changes.items():
        if name.endswith(".lora_B"):
            continue
        target = name.removesuffix("lora_A") + "weight" if name.endswith(".lora_A") else name
        if target not in own:
            raise ValueError(f"{path} does not fit {type(network).__name__}, which has no {target}")
        parameter, new = own[target], value
        if name.endswith(".lora_A"):
            other = changes[f"{name.removesuffix('A')}B"]
            # Factors of a k x k convolution have k times the rank, and its kernel's rows and columns in their sides.
            rank = len(value) // (parameter.shape[-1] if parameter.ndim == 4 else 1)
            new = (other.float() @ value.float()).view(parameter.shape) * (alpha / rank) + parameter
        if new.shape != parameter.shape:
            raise ValueError(
                f"{path}: {name} is {tuple(new.shape)}; {target} of the network is {tuple(parameter.shape)}"
            )
        parameter.copy_(new)
