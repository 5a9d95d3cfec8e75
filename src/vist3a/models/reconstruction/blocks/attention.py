"""Multi-head self-attention."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.models.reconstruction.blocks.rope import Rotation, rotate


class Attention(nn.Module):
    """Self-attention with one fused projection, optional LayerNorm on queries and keys, optional 2D rotation."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False, norm_eps: float = 1e-5) -> None:
        """``width`` channels in ``heads`` heads; ``norm_eps`` is the epsilon of the query/key norms."""
        super().__init__()
        if width % heads:
            raise ValueError(f"attention width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm: nn.Module = nn.LayerNorm(width // heads, eps=norm_eps) if qk_norm else nn.Identity()
        self.k_norm: nn.Module = nn.LayerNorm(width // heads, eps=norm_eps) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Attend over the token axis."""
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        queries, keys = self.q_norm(queries), self.k_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        # Norms may return a wider dtype than the projection under autocast; the fused kernels want one dtype.
        mixed = F.scaled_dot_product_attention(queries.to(values.dtype), keys.to(values.dtype), values)
        return self.proj(mixed.transpose(1, 2).flatten(2))
