"""What the tracker sees of a track: correlation around it, its motion, where it started."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

MOTION_FREQUENCY = 1000.0
POSITION_BASE = 10000.0


def sample_map(
    maps: Float[Tensor, "frames channels rows columns"],
    positions: Float[Tensor, "frames n k 2"],
    padding: str,
) -> Float[Tensor, "frames channels n k"]:
    """Bilinear samples at positions (x, y) in samples of the map, the first one at 0; ``padding`` beyond the last."""
    # One sample on a side has no extent to divide by.
    size = positions.new_tensor([maps.shape[-1] - 1, maps.shape[-2] - 1]).clamp(min=1)
    grid = (2 * positions / size - 1).to(maps.dtype)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode=padding, align_corners=True)


class CorrelationPyramid:
    """Correlation of features with feature maps in a square window, at several scales."""

    def __init__(self, maps: Float[Tensor, "frames channels rows columns"], levels: int, radius: int) -> None:
        """``levels`` halvings (the first is the map itself); windows of ``2 * radius + 1`` samples of each level."""
        if min(maps.shape[-2:]) < 2 ** (levels - 1):
            raise ValueError(
                f"feature maps of {maps.shape[-2]}x{maps.shape[-1]} are too small for {levels} levels of correlation: "
                f"both sides must be at least {2 ** (levels - 1)}"
            )
        self.maps = [maps]
        for _ in range(levels - 1):
            self.maps.append(F.avg_pool2d(self.maps[-1], 2))
        steps = torch.arange(-radius, radius + 1, device=maps.device)
        # The first index of the window moves x, the second y.
        self.window = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1).flatten(0, 1)

    def around(
        self, positions: Float[Tensor, "frames n 2"], features: Float[Tensor, "frames n channels"]
    ) -> Float[Tensor, "frames n correlations"]:
        """Scaled inner products of each feature with the maps around its position, level by level; zero outside."""
        parts = []
        for level, maps in enumerate(self.maps):
            # As published, coordinates are halved per level, without the half sample by which pooling shifts the grid.
            places = positions[:, :, None] / 2**level + self.window.to(positions.dtype)
            near = sample_map(maps, places, "zeros")
            parts.append(torch.einsum("fcnk,fnc->fnk", near, features) / math.sqrt(features.shape[-1]))
        return torch.cat(parts, dim=-1)


def motion_embedding(motion: Float[Tensor, "*batch 2"], width: int) -> Float[Tensor, "*batch width"]:
    """Sines and cosines, interleaved, of motion (x, y); the first half is x, the second y. Frequencies are linear."""
    half = width // 2
    frequencies = torch.arange(0, half, 2, device=motion.device, dtype=motion.dtype) * (MOTION_FREQUENCY / half)
    angles = motion[..., None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-3)


def position_embedding(
    positions: Float[Tensor, "*batch 2"], size: tuple[int, int], width: int
) -> Float[Tensor, "*batch width"]:
    """A sinusoidal table of the samples of a map of ``size`` (rows, columns), read bilinearly at positions (x, y).

    The first half of the channels is x, the second y; each is sines, then cosines.
    """
    quarter = width // 4
    exponent = torch.arange(quarter, device=positions.device, dtype=torch.float64) / quarter
    frequencies = POSITION_BASE**-exponent

    def table(index: Tensor) -> Tensor:
        angles = index.double()[..., None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(positions.dtype)

    parts = []
    # An entry of the table depends on x or on y alone, so that reading it bilinearly is linear along that axis.
    for coordinate, count in zip(positions.unbind(-1), reversed(size), strict=True):
        inside = coordinate.clamp(0, count - 1)
        # The table is read at whole positions; the gradient runs through the share between them.
        below = inside.detach().floor()
        share = (inside - below)[..., None]
        parts.append(table(below) * (1 - share) + table((below + 1).clamp(max=count - 1)) * share)
    return torch.cat(parts, dim=-1)
