"""Which Gaussians the views of a scene agree with: judged by depth maps and frames, without any other truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.projection import project
from vist3a.geometry.spherical_harmonics import color_from_harmonics
from vist3a.records import Gaussians, Reconstruction
from vist3a.rendering.base import NEAR_PLANE

TOLERANCE = 0.1
"""Relative difference of depths up to which a view sees the same surface."""


@dataclass(frozen=True)
class Agreement:
    """What the views say of places, one number each.

    Attributes:
        supporting: Views whose depth there is that of the place.
        opposing: Views that see through the place, at something further behind.
        color: Median over the supporting views of the mean absolute difference of RGB to their frames; 0 without such views.
    """

    supporting: Float[Tensor, " n"]
    opposing: Float[Tensor, " n"]
    color: Float[Tensor, " n"]

    @property
    def opposed(self) -> Float[Tensor, " n"]:
        """Share of the views that could tell and see through the place."""
        return self.opposing / (self.supporting + self.opposing).clamp(min=1)


def agreement(
    places: Float[Tensor, "n 3"],
    colors: Float[Tensor, "views n 3"],
    scene: Reconstruction,
    frames: Float[Tensor, "1 views 3 height width"],
) -> Agreement:
    """What the views of a scene (the first of its batch) say of ``places`` that have ``colors`` as seen from each view.

    Views that do not see a place, and those that see something before it, say nothing.
    """
    depth, (height, width) = scene.depth[0], scene.depth.shape[-2:]
    # Beside an edge a place may be either side of it: what opposes must do so in all pixels around.
    nearest = -torch.nn.functional.max_pool2d(-depth[:, None], 3, stride=1, padding=1)[:, 0]
    supports, opposes, gaps = [], [], []
    for view in range(len(depth)):
        pixel, z = project(places, scene.cameras[0, view])
        inside = (z > NEAR_PLANE) & (pixel >= 0).all(-1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
        column, row = pixel.long().unbind(-1)
        row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
        same = inside & ((z / depth[view, row, column] - 1).abs() < TOLERANCE)
        supports.append(same)
        opposes.append(inside & (z / nearest[view, row, column] - 1 < -TOLERANCE))
        gap = (colors[view] - frames[0, view, :, row, column].T).abs().mean(-1)
        gaps.append(torch.where(same, gap, torch.nan))
    color = torch.stack(gaps).nanmedian(0).values.nan_to_num(0)
    return Agreement(torch.stack(supports).sum(0).to(color), torch.stack(opposes).sum(0).to(color), color)


def gaussian_agreement(
    gaussians: Gaussians, scene: Reconstruction, frames: Float[Tensor, "1 views 3 height width"]
) -> Agreement:
    """Of one set of Gaussians (a batch of one), by their means and view-dependent colors."""
    means, centers = gaussians.means[0], scene.cameras[0].centers
    colors = torch.stack([color_from_harmonics(gaussians.harmonics[0], means - center) for center in centers])
    return agreement(means, colors.clamp(0, 1), scene, frames)
