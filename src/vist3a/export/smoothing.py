"""Gaussians that stay closed when they are seen larger than the network's own views.

A network learns Gaussians through a renderer that blurs by a fixed number of pixels of its views, so they may be thinner than
a pixel with gaps between them. Any larger picture, and any other viewer, shows the gaps. The filter below grows each
Gaussian by a part of a pixel of the nearest view, in 3D, as the 3D smoothing of Mip-Splatting does (Yu et al. 2024, eq. 8; there
opacities are lowered in turn, which would open the gaps again).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from vist3a.geometry.projection import project
from vist3a.records import Cameras, Gaussians
from vist3a.rendering.base import NEAR_PLANE


def close_gaps(gaussians: Gaussians, cameras: Cameras, variance: float) -> Gaussians:
    """One set (a batch of one) grown by ``variance`` squared pixels, seen from the nearest of ``cameras`` (one batch axis).

    The standard deviations become sqrt(s^2 + variance * (z / f)^2) with the smallest z-depth z in front of a camera of vertical
    focal length f. What is in front of no camera stays.
    """
    if variance < 0:
        raise ValueError(f"smoothing must not be negative, it is {variance}")
    # The smallest extent z / f that a pixel of any camera has at each Gaussian.
    pixel = torch.full_like(gaussians.opacities[0], torch.inf)
    for pose, intrinsics in zip(cameras.world_to_camera, cameras.intrinsics, strict=True):
        _, depth = project(gaussians.means[0], Cameras(pose, intrinsics).to(dtype=gaussians.means.dtype))
        size = torch.where(depth > NEAR_PLANE, depth / intrinsics[1, 1], torch.inf)
        pixel = torch.minimum(pixel, size)
    # Still infinite: in front of no camera.
    pixel = torch.where(torch.isfinite(pixel), pixel, 0.0)
    return replace(gaussians, scales=(gaussians.scales.square() + variance * pixel.square()[None, :, None]).sqrt())
