"""Wan's self-attention with the rotation of queries and keys as one expression."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class RotatedAttention:
    """Self-attention processor of diffusers' protocol; equal to ``WanAttnProcessor``, which writes every second channel."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Float[Tensor, "batch tokens width"],
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Attention of all tokens to each other; ``rotary_emb``: cosine and sine [1, tokens, 1, channels], each angle twice."""
        if attn.fused_projections:
            projected = attn.to_qkv(hidden_states).chunk(3, dim=-1)
        else:
            projected = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        queries, keys = attn.norm_q(projected[0]), attn.norm_k(projected[1])
        queries, keys, values = (part.unflatten(2, (attn.heads, -1)) for part in (queries, keys, projected[2]))
        if rotary_emb is not None:
            queries, keys = rotated(queries, *rotary_emb), rotated(keys, *rotary_emb)
        parts = (part.transpose(1, 2) for part in (queries, keys, values))
        mixed = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2).type_as(queries)
        result: Tensor = attn.to_out[1](attn.to_out[0](mixed))
        return result


def rotated(
    x: Float[Tensor, "batch tokens heads channels"], cosine: Tensor, sine: Tensor
) -> Float[Tensor, "batch tokens heads channels"]:
    """Neighbouring channels as points of a plane, turned by the angle of their token, in the dtype of ``x``."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = cosine[..., 0::2], sine[..., 1::2]
    return torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1).flatten(-2).type_as(x)


def rotate_in_one(transformer: Any) -> None:
    """Give the self-attention of every block of ``transformer`` this processor."""
    for block in transformer.blocks:
        block.attn1.set_processor(RotatedAttention())
