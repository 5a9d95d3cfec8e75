"""Wan's cross-attention while the text stays the same: keys and values of the text are computed once, not in every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

KEYS, VALUES = "constant_keys", "constant_values"


class ConstantText:
    """Attention processor of diffusers' protocol that reads keys and values which :func:`constant_text` left on the layer."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Float[Tensor, "batch tokens width"],
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Attention of the tokens to the text; ``encoder_hidden_states`` is not looked at."""
        # As diffusers' own processor for the text, but for keys and values; text has no rotary positions.
        queries = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1)).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(queries, attn.constant_keys, attn.constant_values)
        # ``to_out[1]`` is a dropout, which does nothing at inference.
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2, 3).type_as(queries))


def fits(transformer: Any, text: Tensor) -> bool:
    """Whether the layers are whole (not sharded), where the text is (not streamed), and know no image beside it."""
    layers = [block.attn2 for block in transformer.blocks]
    return all(
        type(layer.to_q.weight) is torch.nn.Parameter
        and layer.to_q.weight.device == text.device
        and layer.add_k_proj is None
        for layer in layers
    )


@contextmanager
def constant_text(transformer: Any, text: Float[Tensor, "batch tokens width"]) -> Iterator[None]:
    """Within, every cross-attention of ``transformer`` attends to ``text``, whatever text it is called with.

    Without a graph: gradients do not reach the text's projections.
    """
    layers = [block.attn2 for block in transformer.blocks]
    with torch.no_grad():
        states = transformer.condition_embedder.text_embedder(text)
        # All are computed before any layer is touched: an error here leaves the transformer as it was.
        made = [_keys_and_values(layer, states) for layer in layers]
    # Read before any is replaced, so that ``finally`` can put all back.
    processors = [layer.processor for layer in layers]
    try:
        for layer, (keys, values) in zip(layers, made, strict=True):
            setattr(layer, KEYS, keys)
            setattr(layer, VALUES, values)
            layer.set_processor(ConstantText())
        yield
    finally:
        for layer, processor in zip(layers, processors, strict=True):
            layer.set_processor(processor)
            # An interrupted loop may not have come to this layer.
            vars(layer).pop(KEYS, None)
            vars(layer).pop(VALUES, None)


def fuse_projections(transformer: Any) -> None:
    """One product for queries, keys and values of the self-attention, one for keys and values of the text.

    For inference: the separate projections are gone, so that no adapter can be added afterwards.
    """
    transformer.fuse_qkv_projections()
    # The fused matrices are copies: the separate ones would only hold memory.
    for block in transformer.blocks:
        del block.attn1.to_q, block.attn1.to_k, block.attn1.to_v, block.attn2.to_k, block.attn2.to_v


def _keys_and_values(layer: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    """Of one layer, split by heads: [batch, heads, tokens, width of a head] each."""
    fused = layer.fused_projections
    keys, values = layer.to_kv(states).chunk(2, dim=-1) if fused else (layer.to_k(states), layer.to_v(states))
    keys = layer.norm_k(keys).unflatten(2, (layer.heads, -1)).transpose(1, 2)
    return keys, values.unflatten(2, (layer.heads, -1)).transpose(1, 2)
