"""Transformer of the tracker: attention over time within a track, and between tracks through a few virtual ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vist3a.networks.blocks.transformer import Mlp

HEADS = 8
VIRTUAL_TRACKS = 64
MLP_RATIO = 4


class TrackBlock(nn.Module):
    """Attention and perceptron; unlike in other blocks, the residual path itself starts from the normed input."""

    def __init__(self, width: int, cross: bool = False) -> None:
        """``cross``: the block attends to a context instead of to its own tokens."""
        super().__init__()
        attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        if cross:
            self.norm_context = nn.LayerNorm(width, eps=1e-5)
            self.cross_attn = attention
        else:
            self.attn = attention
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = Mlp(width, MLP_RATIO * width, width)
        self.cross = cross

    def forward(
        self, x: Float[Tensor, "batch tokens width"], context: Float[Tensor, "batch others width"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Attend to the ``context``, or over the token axis."""
        x = self.norm1(x)
        if self.cross:
            read = self.norm_context(context)
            x = x + self.cross_attn(x, read, read, need_weights=False)[0]
        else:
            x = x + self.attn(x, x, x, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class TrackTransformer(nn.Module):
    """Update of every track in every frame (the fields' names are those of the published state dicts)."""

    def __init__(self, width_in: int, width: int, depth: int, out: int) -> None:
        """Channels ``width_in`` -> ``width`` in ``depth`` layers -> ``out``."""
        super().__init__()
        self.input_norm = nn.LayerNorm(width_in, eps=1e-5)
        self.input_transform = nn.Linear(width_in, width)
        # The misspelling is that of the published state dicts.
        self.virual_tracks = nn.Parameter(torch.randn(1, VIRTUAL_TRACKS, 1, width))
        self.time_blocks = nn.ModuleList(TrackBlock(width) for _ in range(depth))
        self.space_virtual_blocks = nn.ModuleList(TrackBlock(width) for _ in range(depth))
        self.space_virtual2point_blocks = nn.ModuleList(TrackBlock(width, cross=True) for _ in range(depth))
        self.space_point2virtual_blocks = nn.ModuleList(TrackBlock(width, cross=True) for _ in range(depth))
        self.output_norm = nn.LayerNorm(width, eps=1e-5)
        self.flow_head = nn.Linear(width, out)

    def forward(self, x: Float[Tensor, "batch tracks views width_in"]) -> Float[Tensor, "batch tracks views out"]:
        """Raw updates."""
        batch, count, views, _ = x.shape
        entered = self.input_transform(self.input_norm(x))
        # Virtual tracks go along as further tracks; tracks learn of each other through them alone.
        tokens = torch.cat([entered, self.virual_tracks.expand(batch, -1, views, -1)], dim=1)
        layers = zip(
            self.time_blocks,
            self.space_virtual2point_blocks,
            self.space_virtual_blocks,
            self.space_point2virtual_blocks,
            strict=True,
        )
        for over_time, gather, exchange, scatter in layers:
            # In time, a track is a sequence of its frames.
            tokens = over_time(tokens.flatten(0, 1)).unflatten(0, (batch, -1))
            # In space, a frame is a sequence of its tracks: true ones, then virtual ones.
            points, virtual = tokens.transpose(1, 2).flatten(0, 1).split([count, VIRTUAL_TRACKS], dim=1)
            virtual = exchange(gather(virtual, points))
            points = scatter(points, virtual)
            tokens = torch.cat([points, virtual], dim=1).unflatten(0, (batch, views)).transpose(1, 2)
        # Virtual tracks end here; the input joins once more past all layers.
        return self.flow_head(self.output_norm(tokens[:, :count] + entered))
