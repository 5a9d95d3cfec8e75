"""A linear layer that keeps its weights in a wider type than it computes in."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class WideProduct(nn.Linear):
    """Products in the type of what goes in, of weights that may be wider; their gradients are wide again."""

    @classmethod
    def of(cls, layer: nn.Linear) -> WideProduct:
        """The same parameters."""
        made = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        made.weight, made.bias = layer.weight, layer.bias
        return made

    def forward(self, x: Tensor) -> Tensor:
        """As a linear layer whose weights are cast."""
        return functional.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
