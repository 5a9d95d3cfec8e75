"""Scores whose gradients are taken in the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def gradient_at_once(
    score: Callable[..., Tensor], images: Float[Tensor, "n 3 height width"], *constants: Tensor
) -> Float[Tensor, " n"]:
    """``score(images, *constants)``, one number per image, with the graph of one product.

    As the score of an image depends on that image only, its gradient is known up to one factor before anything behind the score
    is: it is taken at once, and the activations of ``score`` are freed, not kept or computed again for a backward pass.
    ``constants`` get no gradient, and the gradient has none of its own.
    """
    result: Tensor = _GradientAtOnce.apply(score, images, *constants)
    return result


class _GradientAtOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, score: Callable[..., Tensor], images: Tensor, *constants: Tensor) -> Tensor:
        with torch.enable_grad():
            # A leaf of its own, so that the graph ends here.
            seen = images.detach().requires_grad_(True)
            scores = score(seen, *constants)
            # No score depends on another image: the gradient of the sum holds that of every score.
            (gradient,) = torch.autograd.grad(scores.sum(), seen)
        ctx.save_for_backward(gradient)
        return scores.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return None, gradient * above[0][:, None, None, None], *[None] * (len(ctx.needs_input_grad) - 2)
