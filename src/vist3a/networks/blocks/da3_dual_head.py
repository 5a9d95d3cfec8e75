"""The dense head of Depth Anything 3: one pyramid of tokens, two fusion chains, for depth and for rays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.networks.blocks.dpt_head import (
    FusionUnit,
    Scratch,
    TokenPyramid,
    add_positions,
    resize_map,
)

RAY_CHANNELS = 7
"""Direction (3), origin (3), raw confidence."""
RAY_LEVEL = "3"
"""The finest level. The published networks hold output layers of the coarser ones too, which nothing reads."""
UNUSED_RAY_LAYERS = tuple(f"head.scratch.output_conv{n}_aux.{level}." for n in (1, 2) for level in range(3))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a map."""

    def forward(
        self, x: Float[Tensor, "frames channels rows columns"]
    ) -> Float[Tensor, "frames channels rows columns"]:
        """Same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class DualScratch(Scratch):
    """The convolutional part with a second chain, for rays, on the same lateral maps."""

    def __init__(self, channels: Sequence[int], features: int, hidden: int = 32) -> None:
        """Level widths, common width, width between the last two convolutions."""
        super().__init__(channels, features, hidden, 2, rectified_skip=False)
        for level in range(1, len(channels) + 1):
            setattr(self, f"refinenet{level}_aux", FusionUnit(features, level < len(channels), rectified_skip=False))
        # Five convolutions, in turn narrower and wider.
        half = features // 2
        widths = [features, half, features, half, features, half]
        convolutions = [nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths)]
        # Positions in the second sequence are those of the published state dicts, which count reshaping layers too.
        out = [
            nn.Conv2d(half, hidden, 3, padding=1),
            nn.Identity(),
            ChannelNorm(hidden, eps=1e-5),
            nn.Identity(),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, RAY_CHANNELS, 1),
        ]
        self.output_conv1_aux = nn.ModuleDict({RAY_LEVEL: nn.Sequential(*convolutions)})
        self.output_conv2_aux = nn.ModuleDict({RAY_LEVEL: nn.Sequential(*out)})


class DualDPTHead(TokenPyramid):
    """Raw depth and confidence per pixel, raw rays and their confidence on a grid 8 times as fine as the tokens'."""

    def __init__(self, width: int, channels: Sequence[int], features: int) -> None:
        """``width`` is that of the tapped tokens, whose first one of each frame is not used."""
        super().__init__(width, channels, special=1)
        self.scratch = DualScratch(channels, features)

    def forward(
        self,
        taps: Sequence[Float[Tensor, "batch views tokens channels"]],
        grid: tuple[int, int],
        size: tuple[int, int],
        chunk: int = 8,
    ) -> tuple[Float[Tensor, "batch views 2 height width"], Float[Tensor, "batch views 7 ray_rows ray_columns"]]:
        """Depth maps of ``size`` (height, width) pixels and ray maps from tokens on ``grid``, by ``chunk`` frames."""
        views = taps[0].shape[:2]
        frames = [tap.flatten(0, 1) for tap in taps]
        parts = [
            self.chunk(self._frames, [tap[start : start + chunk] for tap in frames], grid, size)
            for start in range(0, len(frames[0]), chunk)
        ]
        depth, rays = (torch.cat(maps).unflatten(0, views) for maps in zip(*parts, strict=True))
        return depth, rays

    def _frames(self, taps: Sequence[Tensor], grid: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        aspect, scratch = size[1] / size[0], self.scratch
        # Both chains read the same lateral maps; depth goes on to pixels, rays stay at twice the finest level.
        lateral = scratch.laterals(self.levels(taps, grid, aspect))
        x = scratch.output_conv1(scratch.fuse(lateral))
        x = resize_map(x, size)
        depth = scratch.output_conv2(add_positions(x, aspect))
        x = scratch.output_conv1_aux[RAY_LEVEL](scratch.fuse(lateral, "_aux"))
        return depth, scratch.output_conv2_aux[RAY_LEVEL](add_positions(x, aspect))
