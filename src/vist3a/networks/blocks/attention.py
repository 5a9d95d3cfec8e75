"""Multi-head self-attention."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.networks.blocks.rope import Rotation, rotate


class WideNorm(nn.LayerNorm):
    """Layer norm in the dtype of its own weights, whatever it is given."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the last axis."""
        return super().forward(input.to(self.weight.dtype))


class Attention(nn.Module):
    """Self-attention with one fused projection, optional LayerNorm on queries and keys, optional 2D rotation."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False, norm_eps: float = 1e-5) -> None:
        """``width`` channels in ``heads`` heads; ``norm_eps`` is the epsilon of the query/key norms."""
        super().__init__()
        if width % heads:
            raise ValueError(f"attention width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm: nn.Module = WideNorm(width // heads, eps=norm_eps) if qk_norm else nn.Identity()
        self.k_norm: nn.Module = WideNorm(width // heads, eps=norm_eps) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Attend over the token axis."""
        # From [batch, tokens, 3 * width] to three times [batch, tokens, heads, head width].
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        queries, keys = self.q_norm(queries), self.k_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        return self.proj(attend(queries, keys, values).flatten(2))


def attend(
    queries: Float[Tensor, "batch targets heads head"],
    keys: Float[Tensor, "batch tokens heads head"],
    values: Float[Tensor, "batch tokens heads head"],
) -> Float[Tensor, "batch targets heads head"]:
    """Attention of every head in the dtype of the values; queries and keys come wider out of norms and rotations."""
    queries, keys, values = (part.to(values.dtype).transpose(1, 2) for part in (queries, keys, values))
    return F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)
