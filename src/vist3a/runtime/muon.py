"""Muon (Jordan et al., 2024) whose products are of a type that the machine multiplies fast.

torch.optim.Muon always multiplies in bfloat16. A CPU without instructions for it takes six times as long as in float32, which was
nineteen twentieths of a distillation step; elsewhere the steps here are those of torch.optim.Muon, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.95
COEFFICIENTS, STEPS = (3.4445, -4.775, 2.0315), 5
"""Of the Newton-Schulz iteration that brings all singular values near 1."""
RMS = 0.2
"""Root mean square of AdamW's usual step, to which steps are scaled (Liu et al., 2025)."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with its singular values made equal, for matrices; decoupled weight decay.

    ``dtype`` is that of the products; None: :func:`fast_dtype` of each matrix.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step for every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad, memory_format=torch.preserve_format)
                momentum = state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
                # Nesterov: a step ahead, the gradient counts once more than in the momentum.
                update = orthogonalised(matrix.grad.lerp(momentum, MOMENTUM), self.dtype or fast_dtype(matrix))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                # Entries of an orthogonal matrix have a root mean square of 1 / sqrt(longer side).
                matrix.add_(update, alpha=-group["lr"] * RMS * max(matrix.shape) ** 0.5)


def fast_dtype(like: Tensor) -> torch.dtype:
    """bfloat16 on GPUs and on CPUs that multiply it, else float32."""
    if like.device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


def orthogonalised(matrix: Float[Tensor, "rows columns"], dtype: torch.dtype) -> Float[Tensor, "rows columns"]:
    """The nearest matrix with equal singular values, roughly (0.7 to 1.2), by products in ``dtype``."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.to(dtype, copy=True)
    # Wide, so that the Gram matrix is the smaller one.
    x = x.T if tall else x
    # No singular value above 1, as the iteration wants.
    x.div_(x.norm().clamp(min=1e-7))
    for _ in range(STEPS):
        # x becomes a x + (b G + c G^2) x with G = x x^T: the polynomial acts on the singular values.
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
