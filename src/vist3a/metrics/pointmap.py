"""Errors of point maps and point clouds whose frame and scale are unknown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vist3a.geometry.similarity import umeyama

_CHUNK = 256
"""Distances to so many points at once stay in the cache of a processor."""


@dataclass(frozen=True)
class PointmapErrors:
    """Errors per scene, after the similarity that fits corresponding pixels best, in the target's unit.

    ``accuracy`` is the mean distance from predicted points to the nearest true point, ``completeness`` from true points
    to the nearest predicted one; ``accuracy_median``, ``completeness_median`` the medians. ``relative`` is the mean
    distance between *corresponding* points divided by the mean distance of the true points from their centroid.
    """

    accuracy: Float[Tensor, " batch"]
    completeness: Float[Tensor, " batch"]
    accuracy_median: Float[Tensor, " batch"]
    completeness_median: Float[Tensor, " batch"]
    relative: Float[Tensor, " batch"]


def pointmap_errors(
    prediction: Float[Tensor, "batch *pixels 3"],
    target: Float[Tensor, "batch *pixels 3"],
    valid: Bool[Tensor, " batch *pixels"] | None = None,
) -> PointmapErrors:
    """Align (Umeyama over all valid corresponding pixels of a scene) and compare.

    Points that are not finite on either side never count; fewer than three valid points give NaN.
    """
    rows = []
    for scene in range(len(prediction)):
        ours, true = prediction[scene].reshape(-1, 3), target[scene].reshape(-1, 3)
        usable = torch.isfinite(ours).all(-1) & torch.isfinite(true).all(-1)
        if valid is not None:
            usable &= valid[scene].reshape(-1)
        rows.append(_scene_errors(ours[usable], true[usable]))
    return PointmapErrors(*torch.stack(rows).unbind(-1))


def nearest_distances(
    source: Float[Tensor, "n 3"], target: Float[Tensor, "m 3"], chunk: int = _CHUNK
) -> Float[Tensor, " n"]:
    """Distance of each source point to the nearest target point (exact; memory is chunk x m)."""
    return nearest(source, target, chunk)[0]


def nearest(
    source: Float[Tensor, "n 3"], target: Float[Tensor, "m 3"], chunk: int = _CHUNK
) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """Distance and number of the nearest target point of each source point (exact; memory is chunk x m)."""
    # Differences, not the expanded square: points far from the origin would lose all digits.
    parts = [
        torch.cdist(part, target, compute_mode="donot_use_mm_for_euclid_dist").min(-1) for part in source.split(chunk)
    ]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _scene_errors(ours: Float[Tensor, "n 3"], true: Float[Tensor, "n 3"]) -> Float[Tensor, " 5"]:
    # Fewer than three points fix no similarity.
    if len(ours) < 3:
        return ours.new_full((5,), torch.nan)
    scale, rotation, translation = umeyama(ours, true)
    ours = scale * ours @ rotation.T + translation
    forth, back = nearest_distances(ours, true), nearest_distances(true, ours)
    spread = (true - true.mean(0)).norm(dim=-1).mean()
    relative = (ours - true).norm(dim=-1).mean() / spread
    return torch.stack([forth.mean(), back.mean(), forth.median(), back.median(), relative])
