"""How hard each term of a reward pulls: the norm of its own gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


def term_gradient_norms(
    weights: Mapping[str, float],
    parts: Mapping[str, Float[Tensor, " batch"]],
    latents: Float[Tensor, "batch channels times rows columns"],
) -> dict[str, Float[Tensor, ""]]:
    """Norm of d(weight * batch mean of a term)/d(latents), per term; one backward pass each, the graph stays.

    The gradients, not their norms, sum to that of the total reward.
    """
    norms = {}
    for name, part in parts.items():
        gradient = None
        # A term may not depend on the latents at all: its pull is zero.
        if weights[name] and part.requires_grad:
            (gradient,) = torch.autograd.grad(
                weights[name] * part.mean(), latents, retain_graph=True, allow_unused=True
            )
        norms[name] = latents.new_zeros(()) if gradient is None else gradient.norm()
    return norms
