"""Pre-norm transformer block with layer scale."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.networks.blocks.attention import Attention
from vist3a.networks.blocks.rope import Rotation


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        """``width`` -> ``hidden`` -> ``out`` channels."""
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        """Apply to the last axis."""
        return self.fc2(F.gelu(self.fc1(x)))


class GatedMlp(nn.Module):
    """SwiGLU: one fused projection gives a gate and a value; two thirds of the plain hidden width, rounded up to 8."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        """``hidden`` is the width that the plain perceptron would have."""
        super().__init__()
        gated = (int(hidden * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(width, 2 * gated)
        self.w3 = nn.Linear(gated, out)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        """Apply to the last axis."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class Residual(nn.Module):
    """Adds a branch to the stream that it was computed from."""

    def forward(self, x: Float[Tensor, "*batch width"], branch: Float[Tensor, "*batch width"]) -> Tensor:
        """Their sum, in the wider of their types."""
        return x + branch


class LayerScale(nn.Module):
    """Adds a branch times a learned factor per channel."""

    def __init__(self, width: int, init: float) -> None:
        """All factors start at ``init``."""
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), init))

    def forward(self, x: Float[Tensor, "*batch width"], branch: Float[Tensor, "*batch width"]) -> Tensor:
        """Their sum, in the widest of the types, in one kernel."""
        return torch.addcmul(x, branch, self.gamma)


def _residual(width: int, init: float | None) -> nn.Module:
    return Residual() if init is None else LayerScale(width, init)


class Block(nn.Module):
    """x + scale * attention(norm(x)), then x + scale * mlp(norm(x))."""

    compiled_alone = True

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        *,
        norm_eps: float = 1e-5,
        qk_norm: bool = False,
        layer_scale_init: float | None = 0.01,
        gated: bool = False,
    ) -> None:
        """``norm_eps`` is used by the block norms; query/key norms always use 1e-5. ``gated``: SwiGLU perceptron."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, heads, qk_norm)
        self.ls1 = _residual(width, layer_scale_init)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = (GatedMlp if gated else Mlp)(width, int(width * mlp_ratio), width)
        self.ls2 = _residual(width, layer_scale_init)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], rotation: Rotation | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Attend over the token axis, with the 2D rotation if given."""
        # Matrices may be narrower than the stream and its norms (see ``mixed_precision``).
        dtype = self.attn.qkv.weight.dtype
        x = self.ls1(x, self.attn(self.norm1(x).to(dtype), rotation))
        mixed: Tensor = self.ls2(x, self.mlp(self.norm2(x).to(dtype)))
        return mixed


def initialise_linears(module: nn.Module) -> None:
    """Truncated-normal weights (0.02) and zero biases in every linear layer, for training from scratch."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
