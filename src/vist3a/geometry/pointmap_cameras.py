"""Cameras of pointmaps: pinholes with one focal length per scene and the principal point at the image centre.

Both estimates minimise a sum of confidence-weighted *distances* (not squares, so that outliers do not rule) by repeatedly
solving a weighted least-squares problem (Weiszfeld's scheme). Nothing here is differentiable; all is float64 inside.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.object_space_pose import pose_from_rays
from vist3a.geometry.projection import pixel_grid
from vist3a.records.cameras import Cameras

FIELDS_OF_VIEW = (math.radians(5.0), math.radians(60.0), math.radians(150.0))
"""Smallest, assumed when a pointmap says nothing, and largest field of view of the longer image side."""
PIXEL_FLOOR = 0.01
"""Residuals below this many pixels count as this much."""
POSE_POINTS = 80 * 80
"""Larger maps are thinned to a regular subset of about so many pixels before a pose is estimated."""
ROUNDS = 10


@torch.no_grad()
def cameras_from_pointmaps(
    points: Float[Tensor, "batch views height width 3"], confidence: Float[Tensor, "batch views height width"]
) -> Cameras:
    """Cameras of pointmaps that are all given in the frame of the first view's camera.

    The focal length (pixels, the same for both axes and all views) comes from the first view; the first camera is the
    world frame; the others are the poses that best explain their pixels by their points.
    """
    batch, views, height, width, _ = points.shape
    finite = points.isfinite().all(-1) & confidence.isfinite()
    # The values go as well as the weights: 0 times NaN would be NaN.
    clean = torch.where(finite[..., None], points, 0.0).double()
    weights = torch.where(finite, confidence, 0.0).double()
    focal = focal_from_pointmap(clean[:, 0], weights[:, 0])
    pose = torch.eye(4, dtype=clean.dtype, device=clean.device).repeat(batch, views, 1, 1)
    if views > 1:
        # Every other view is a problem of its own in one batch, with the focal length of its scene.
        others = (clean[:, 1:].flatten(0, 1), weights[:, 1:].flatten(0, 1), focal.repeat_interleave(views - 1))
        pose[:, 1:] = _poses(*others).unflatten(0, (batch, views - 1))
    intrinsics = torch.zeros(batch, views, 3, 3, dtype=clean.dtype, device=clean.device)
    intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = focal[:, None]
    intrinsics[..., 0, 2], intrinsics[..., 1, 2], intrinsics[..., 2, 2] = width / 2, height / 2, 1.0
    return Cameras(pose.to(points.dtype), intrinsics.to(points.dtype))


def focal_from_pointmap(
    points: Float[Tensor, "batch height width 3"], weights: Float[Tensor, "batch height width"], rounds: int = ROUNDS
) -> Float[Tensor, " batch"]:
    """Focal length in pixels of pointmaps in their own camera's frame, after Wang et al. (DUSt3R, 2024, section 3.3).

    Minimises the weighted sum of |pixel - f * (x, y) / z| * cos(angle to the optical axis of the point), with pixels
    measured from the image centre. The cosine is ours: it bounds the pull of stray points beside the camera. Points that
    are not in front of the camera do not count.
    """
    pixels = _centred_pixels(points)
    z, length = points[..., 2], points.norm(dim=-1)
    front = z > 1e-6 * length.mean(dim=(1, 2), keepdim=True)
    # Both branches of a ``where`` are computed: the inner one spares them a division by zero.
    slopes = torch.where(front[..., None], points[..., :2] / torch.where(front, z, 1.0)[..., None], 0.0)
    cosine = torch.where(front, z / length.clamp(min=1e-30), 0.0)
    along, square = (pixels * slopes).sum(-1), slopes.square().sum(-1)
    # A wide field of view is a short focal length, hence the reversed order.
    low, assumed, high = (max(z.shape[1:]) / 2 / math.tan(fov / 2) for fov in reversed(FIELDS_OF_VIEW))
    # The first round minimizes squares, for which the cosine is squared as well.
    weight = weights * cosine.square()
    for _ in range(rounds):
        # The least-squares solution is a quotient, which is NaN where no point counts.
        focal = (weight * along).sum((1, 2)) / (weight * square).sum((1, 2))
        focal = focal.nan_to_num(nan=assumed, posinf=assumed, neginf=assumed).clamp(low, high)
        residual = (pixels - focal[:, None, None, None] * slopes).norm(dim=-1)
        weight = weights * cosine / residual.clamp(min=PIXEL_FLOOR)
    return focal


def _poses(
    points: Float[Tensor, "maps height width 3"],
    weights: Float[Tensor, "maps height width"],
    focal: Float[Tensor, " maps"],
) -> Float[Tensor, "maps 4 4"]:
    height, width = weights.shape[1:]
    stride = math.ceil(math.sqrt(height * width / POSE_POINTS))
    pixels = _centred_pixels(points)[::stride, ::stride].flatten(0, 1)
    rays = torch.cat([pixels / focal[:, None, None], pixels.new_ones(len(points), len(pixels), 1)], dim=-1)
    chosen = points[:, ::stride, ::stride].flatten(1, 2), weights[:, ::stride, ::stride].flatten(1)
    # Near the image center a pixel covers 1 / focal radians.
    return pose_from_rays(chosen[0], rays, chosen[1], PIXEL_FLOOR / focal, ROUNDS)


def _centred_pixels(points: Float[Tensor, "maps height width 3"]) -> Float[Tensor, "height width 2"]:
    height, width = points.shape[1:3]
    centre = torch.tensor([width / 2, height / 2], dtype=points.dtype, device=points.device)
    return pixel_grid(height, width, device=points.device, dtype=points.dtype) - centre
