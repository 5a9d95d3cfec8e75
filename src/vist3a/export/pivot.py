"""Whether there is anything to look at in a scene, and the depth that it is turned about."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records import Reconstruction


def pivot_depth(depth: Float[Tensor, "views height width"]) -> float:
    """Median of the finite depths, in the network's unit.

    Raises:
        ValueError: None is finite, so that there is nothing to turn about.

    Example:
        >>> pivot_depth(torch.tensor([[[1.0, 2.0, torch.nan, 3.0]]]))
        2.0
    """
    finite = depth[torch.isfinite(depth)]
    # Of nothing the median would be NaN, which becomes the position of every camera.
    if not len(finite):
        raise ValueError(f"no depth of the scene is finite, of {depth.numel()}; at least one is needed to show it")
    return float(finite.median())


def check_shown(scene: Reconstruction) -> None:
    """ValueError unless some depth and some point of the scene (the first of its batch) are finite."""
    pivot_depth(scene.depth[0])
    check_points(int(torch.isfinite(scene.points[0]).all(-1).sum()))


def check_points(left: int) -> None:
    """ValueError where no point is ``left`` to show."""
    if not left:
        raise ValueError(
            "no point of the scene is finite, or only points of the lowest confidence; at least one is needed"
        )
