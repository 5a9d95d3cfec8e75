"""Depth errors after the usual alignment of the unknown scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class DepthErrors:
    """Errors over the valid pixels of each item of the batch; NaN where an item has none.

    ``abs_rel`` is the mean of ``|prediction - target| / target``, ``delta_125`` the share of pixels with
    ``max(prediction / target, target / prediction) < 1.25``, ``scale`` the factor that was applied to the prediction.
    """

    abs_rel: Float[Tensor, "*batch"]
    delta_125: Float[Tensor, "*batch"]
    scale: Float[Tensor, "*batch"]


def depth_errors(
    prediction: Float[Tensor, "*batch height width"],
    target: Float[Tensor, "*batch height width"],
    valid: Bool[Tensor, "*batch height width"] | None = None,
    *,
    align: bool = True,
) -> DepthErrors:
    """Compare z-depths, by default after scaling the prediction so that the medians agree.

    Flatten views into the height axis to give all views of a scene one common scale. Pixels that are not finite or not
    positive in either map never count.
    """
    prediction, target = prediction.flatten(-2), target.flatten(-2)
    usable = torch.isfinite(prediction) & torch.isfinite(target) & (prediction > 0) & (target > 0)
    if valid is not None:
        usable &= valid.flatten(-2)
    # NaN marks what does not count: means and quantiles below leave it out.
    missing = torch.full_like(target, torch.nan)
    prediction, target = torch.where(usable, prediction, missing), torch.where(usable, target, missing)
    scale = _median(target) / _median(prediction) if align else torch.ones_like(target[..., 0])
    prediction = scale[..., None] * prediction
    ratio = torch.maximum(prediction / target, target / prediction)
    good = torch.where(usable, (ratio < 1.25).to(target.dtype), missing)
    return DepthErrors(((prediction - target).abs() / target).nanmean(-1), good.nanmean(-1), scale)


def _median(values: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Median that ignores NaN and averages the two middle values, as numpy's."""
    if values.shape[-1] >= 2**24:  # beyond what nanquantile accepts; of so many, the lower middle value will do
        return torch.nanmedian(values, dim=-1).values
    return torch.nanquantile(values, 0.5, dim=-1)
