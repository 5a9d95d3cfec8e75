"""Similarity alignment of point sets (Umeyama, 1991, equations 34-43)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def umeyama(
    source: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"], *, scaled: bool = True
) -> tuple[Float[Tensor, ""], Float[Tensor, "3 3"], Float[Tensor, " 3"]]:
    """Scale s, rotation R, translation t minimising sum ||s R source + t - target||^2 (computed in float64).

    Without ``scaled``, s is 1: the best rigid motion.
    """
    x, y = source.double(), target.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    dx, dy = x - mean_x, y - mean_y
    # The covariance of target and source; its singular vectors give the rotation.
    u, singular, vt = torch.linalg.svd(dy.T @ dx / len(x))
    sign = torch.ones(3, dtype=x.dtype, device=x.device)
    # Where the best fit is a mirroring, the direction that matters least is turned over.
    sign[2] = torch.sign(torch.det(u) * torch.det(vt))
    rotation = u @ torch.diag(sign) @ vt
    # The best scale is the covariance along the rotation over the variance of the source, which may be 0.
    scale = (singular * sign).sum() / dx.square().sum(1).mean().clamp(min=1e-30) if scaled else torch.ones_like(sign[0])
    translation = mean_y - scale * rotation @ mean_x
    return scale.to(source.dtype), rotation.to(source.dtype), translation.to(source.dtype)
