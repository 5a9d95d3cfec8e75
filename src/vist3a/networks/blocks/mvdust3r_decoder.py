"""Decoder block of MV-DUSt3R (Tang et al., 2024): each view attends to itself, then to all the other views."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vist3a.networks.blocks.attention import Attention, attend
from vist3a.networks.blocks.rope import Rotation, rotate
from vist3a.networks.blocks.transformer import Mlp

NORM_EPS = 1e-6
"""Of every LayerNorm of the encoder and the decoder."""


def other_members(count: int, device: torch.device | None = None) -> Int[Tensor, "count others"]:
    """Row m: all of 0 .. count - 1 but m, ascending."""
    member = torch.arange(count, device=device)[:, None]
    # From the member on, every rank is one higher, which leaves the member out.
    rank = torch.arange(count - 1, device=device)
    return rank + (rank >= member)


def slot_order(references: int, views: int, device: torch.device | None = None) -> Int[Tensor, "references views"]:
    """Which view sits in each slot of a path: its reference in slot 0, the first view in the reference's place."""
    path = torch.arange(references, device=device)[:, None]
    slot = torch.arange(views, device=device)
    return torch.where(slot == 0, path, torch.where(slot == path, 0, slot))


class CrossAttention(nn.Module):
    """Attention of some members of a group to other members; every member's tokens lie on the same 2D grid."""

    def __init__(self, width: int, heads: int) -> None:
        """``width`` channels in ``heads`` heads."""
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "batch targets tokens width"],
        members: Float[Tensor, "batch members tokens width"],
        others: Int[Tensor, "targets others"],
        rotation: Rotation,
    ) -> Float[Tensor, "batch targets tokens width"]:
        """Target t attends to the tokens of the members ``others[t]``, which are projected only once."""
        queries, keys, values = (
            projected.unflatten(-1, (self.heads, -1))
            for projected in (self.projq(x), self.projk(members), self.projv(members))
        )
        # To [batch * targets, others * tokens, heads, head width].
        keys, values = (part[:, others].flatten(2, 3).flatten(0, 1) for part in (rotate(keys, rotation), values))
        mixed = attend(rotate(queries, rotation).flatten(0, 1), keys, values)
        return self.proj(mixed.flatten(2)).unflatten(0, x.shape[:2])


class DecoderBlock(nn.Module):
    """Self-attention within a member, cross-attention to the other members of its group, perceptron; all pre-norm."""

    compiled_alone = True

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        """``width`` channels in ``heads`` heads."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.norm_y = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross_attn = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio), width)

    def forward(
        self, members: Float[Tensor, "batch members tokens width"], targets: slice, rotation: Rotation
    ) -> Float[Tensor, "batch targets tokens width"]:
        """New tokens of the ``targets`` among the members; what they attend to are the members as given.

        A member without others skips the cross-attention, which would have nothing to attend to.
        """
        # Matrices may be narrower than the stream and its norms (see ``mixed_precision``).
        dtype = self.attn.qkv.weight.dtype
        x = members[:, targets]
        x = x + self.attn(self.norm1(x).flatten(0, 1).to(dtype), rotation).unflatten(0, x.shape[:2])
        others = other_members(members.shape[1], members.device)[targets]
        if others.shape[1]:
            x = x + self.cross_attn(self.norm2(x).to(dtype), self.norm_y(members).to(dtype), others, rotation)
        return x + self.mlp(self.norm3(x).to(dtype))
