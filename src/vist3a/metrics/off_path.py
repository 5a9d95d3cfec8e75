"""How good a scene looks from where nobody looked, without a reference; and the scene without what its views disagree with.

The formula and its two thresholds were fixed on scenes of one seed of the procedural world, and measured on others
(benchmarks/off_path.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.export.agreement import agreement, gaussian_agreement
from vist3a.export.pivot import pivot_depth
from vist3a.export.turntable import flight, orbit
from vist3a.geometry.projection import unproject_depth
from vist3a.records import Cameras, Gaussians, Reconstruction
from vist3a.rendering import renderer_for
from vist3a.rendering.base import Renderer

BETWEEN, DEGREES = 4, 12.0
"""Views between those of the path, and the opening of the loops beside it (views stand at 0.7 of it, to either side)."""
PLACES = (0.15, 0.5, 0.85)
"""Of the loops, along the path."""
HOLE_WEIGHT = 0.1
MOST_OPPOSED, LARGEST_GAP = 0.25, 0.2
"""A Gaussian stays if no more of the views that could tell see through it, and their frames have nearly its color."""
FLOOR = 1e-6


@dataclass(frozen=True)
class OffPath:
    """What a scene looks like from views between and beside those that are given.

    Attributes:
        given: Mean squared difference of renderings to the given frames.
        beside: The same off the path, to the colors that the frames have for what is rendered, where they show it.
        holes: Share of the light off the path that meets nothing.
        unseen: Share of the pixels off the path whose surface no frame shows.
        floaters: Share of the opacity in Gaussians that most views see through.
        confidence: Mean of the network's own, of depth.
    """

    given: float
    beside: float
    holes: float
    unseen: float
    floaters: float
    confidence: float

    @property
    def decibels(self) -> float:
        """The score: more is better, and it orders scenes as the true PSNR off the path does."""
        return -10 * math.log10(max(self.given + self.beside + HOLE_WEIGHT * self.holes, FLOOR))


@torch.no_grad()
def off_path(
    gaussians: Gaussians, scene: Reconstruction, frames: Float[Tensor, "1 views 3 height width"], render: Renderer
) -> OffPath:
    """Judge a batch of one by the depth, cameras and frames (RGB in [0, 1]) that it was made with.

    Example:
        >>> off_path(scene.gaussians, scene, frames, renderer_for(frames.device)).decibels
        24.1
    """
    size = (frames.shape[-2], frames.shape[-1])
    given = render(gaussians, scene.cameras, size).rgb.clamp(0, 1)
    cameras = views_off_path(scene.cameras[0], pivot_depth(scene.depth[0]))
    drawn = render(gaussians, cameras[None], size)
    places = unproject_depth(drawn.depth[0], cameras).reshape(-1, 3)
    colors = drawn.rgb[0].clamp(0, 1).movedim(1, -1).reshape(1, -1, 3).expand(frames.shape[1], -1, -1)
    said, means = agreement(places, colors, scene, frames), gaussian_agreement(gaussians, scene, frames)
    shown, opacity = said.supporting > 0, gaussians.opacities[0]
    return OffPath(
        given=float((given - frames).square().mean()),
        # Where nothing is shown, nothing is known to be right.
        beside=float(said.color[shown].square().mean()) if shown.any() else 1.0,
        holes=float((1 - drawn.alpha).mean()),
        unseen=float((~shown).float().mean()),
        floaters=float(opacity[means.opposed > 0.5].sum() / opacity.sum().clamp(min=1e-12)),
        confidence=float(scene.depth_confidence[0].mean()),
    )


def views_off_path(cameras: Cameras, pivot: float) -> Cameras:
    """Views between ``cameras`` (one batch axis), and right and left of three places, turned about the depth ``pivot``."""
    steps = 2 * BETWEEN + 1
    views = [flight(cameras, steps)[1::2]]
    for place in PLACES:
        here = flight(cameras, 101)[round(100 * place)]
        # A loop of eight steps is furthest to either side at the second and the sixth.
        views.append(orbit(here, pivot, 9, DEGREES)[[2, 6]])
    return Cameras(torch.cat([v.world_to_camera for v in views]), torch.cat([v.intrinsics for v in views]))


@torch.no_grad()
def without_disagreement(
    gaussians: Gaussians, scene: Reconstruction, frames: Float[Tensor, "1 views 3 height width"], render: Renderer
) -> Gaussians:
    """A batch of one without Gaussians that the views see through, or whose color they do not have.

    If that makes the score no better, nothing is taken away.
    """
    said = gaussian_agreement(gaussians, scene, frames)
    keep = (said.opposed <= MOST_OPPOSED) & (said.color <= LARGEST_GAP)
    if keep.all() or not keep.any():
        return gaussians
    fewer = gaussians.select(0, keep)
    better = off_path(fewer, scene, frames, render).decibels > off_path(gaussians, scene, frames, render).decibels
    return fewer if better else gaussians


class OffPathMetric:
    """Metric ``off_path`` of the registry: the score of every sample, in decibels; of networks without Gaussians NaN."""

    more_is_better = True

    def __call__(
        self, scene: Reconstruction, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """One number per sample."""
        if scene.gaussians is None:
            return frames.new_full((len(frames),), torch.nan)
        render = renderer_for(frames.device)
        scores = []
        for sample in range(len(frames)):
            one = slice(sample, sample + 1)
            part = Reconstruction(
                scene.cameras[one], scene.depth[one], scene.depth_confidence[one], scene.points[one], scene.points_confidence[one]
            )  # fmt: skip
            scores.append(off_path(scene.gaussians[one], part, frames[one], render).decibels)
        return frames.new_tensor(scores)
