"""Frames held against their neighbors, carried over along the scene: what is left is flicker, bending, or a wrong scene.

The measure of temporal consistency of Lai et al. (ECCV 2018), with depth and cameras of the scene in place of optical flow.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vist3a.metrics.reprojection import look_up
from vist3a.records import Cameras, Reconstruction

HIDDEN = 0.05
"""Relative difference of the depths above which the neighbor sees something else there."""
LEAST_SEEN = 0.25
"""Share of the pixels of a film that must be seen by neighbors; with fewer nothing is known, and figures are NaN."""


class Warping:
    """Metric ``warping`` of the registry: mean absolute difference of RGB to the neighbor's, in [0, 1]."""

    more_is_better = False

    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """One number per sample."""
        carried, seen = warp_neighbors(scene.depth, scene.cameras, frames)
        return mean_seen((carried - frames).abs().mean(2), seen)


def warp_neighbors(
    depth: Float[Tensor, "batch views height width"],
    cameras: Cameras,
    maps: Float[Tensor, "batch views channels height width"],
    mode: str = "bilinear",
) -> tuple[Float[Tensor, "batch views channels height width"], Bool[Tensor, "batch views height width"]]:
    """The map of each view's neighbor (the one before; of the first, the second) as seen from the view, and where it is seen.

    One view alone has no neighbor: nothing is seen. Cameras are those of pictures of the maps' size.

    Example:
        >>> carried, seen = warp_neighbors(scene.depth, scene.cameras, frames)
    """
    views, (height, width) = depth.shape[1], depth.shape[-2:]
    if views < 2:
        return maps, torch.zeros_like(depth, dtype=torch.bool)
    there = torch.tensor([1, *range(views - 1)], device=depth.device)
    other = cameras[:, there]
    values, _, z, inside = look_up(depth, cameras, other, maps[:, there], mode)
    surface, *_ = look_up(depth, cameras, other, depth[:, there, None])
    seen = inside & ((surface[:, :, 0] - z).abs() / z < HIDDEN)
    return values.unflatten(-1, (height, width)), seen.unflatten(-1, (height, width))


def mean_seen(
    values: Float[Tensor, "batch views height width"], seen: Bool[Tensor, "batch views height width"]
) -> Float[Tensor, " batch"]:
    """Mean of each sample over what is seen; NaN where that is too little to say anything."""
    share = seen.to(values).mean((1, 2, 3))
    mean = torch.where(seen, values, 0.0).mean((1, 2, 3)) / share
    return torch.where(share >= LEAST_SEEN, mean, torch.nan)
