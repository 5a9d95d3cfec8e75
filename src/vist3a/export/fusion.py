"""Depth maps fused into one truncated signed distance volume (Curless and Levoy, 1996), and colors of places from the frames.

Only blocks of voxels near a point are computed, so that fine volumes of large rooms stay small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vist3a.geometry.projection import project, unproject_depth
from vist3a.records import Cameras
from vist3a.rendering.base import NEAR_PLANE

BLOCK = 8
"""Voxels of a block, along each axis."""
OUTLIERS = 0.005
"""Share of the points at either end of each axis that the volume may leave out."""
CHUNK = 2**20


@dataclass(frozen=True)
class Volume:
    """Signed distances, positive in front of surfaces, in truncations [-1, 1], and weights (0: never seen) on a regular grid.

    Voxel (i, j, k) stands at ``origin + side * (i, j, k)``, in the frame and unit of the scene.
    """

    distance: Float[np.ndarray, "x y z"]
    weight: Float[np.ndarray, "x y z"]
    origin: Float[np.ndarray, " 3"]
    side: float


def fuse_depth(
    depth: Float[Tensor, "views height width"],
    confidence: Float[Tensor, "views height width"],
    cameras: Cameras,
    resolution: int,
    truncation: float = 4.0,
) -> Volume:
    """The volume of z-depth maps; ``resolution`` voxels along its longest side, distances cut at ``truncation`` voxels.

    Every view adds its distances, weighted by confidence. Depths that are not finite and positive add nothing, nor do those of
    confidence 0.

    Raises:
        ValueError: No depth counts.

    Example:
        >>> volume = fuse_depth(scene.depth[0], scene.depth_confidence[0], scene.cameras[0], resolution=192)
    """
    depth, confidence = depth.detach().float().cpu(), confidence.detach().float().cpu()
    cameras = cameras.detach().to("cpu", torch.float32)
    valid = torch.isfinite(depth) & (depth > NEAR_PLANE) & torch.isfinite(confidence) & (confidence > 0)
    if not valid.any():
        raise ValueError(f"none of {depth.numel()} depths is finite, positive and trusted; at least one is needed")
    points = unproject_depth(torch.where(valid, depth, torch.ones_like(depth)), cameras)[valid]
    low, high = (torch.from_numpy(np.quantile(points.numpy(), q, axis=0)).float() for q in (OUTLIERS, 1 - OUTLIERS))
    side = float((high - low).amax().clamp(min=1e-6)) / resolution
    margin = (truncation + 1) * side
    origin = low - margin
    blocks = [int(n) for n in torch.ceil((high + margin - origin) / (BLOCK * side)).long().clamp(min=1)]
    places = _blocks_near(points, origin, BLOCK * side, blocks)
    distance = np.full([BLOCK * n for n in blocks], 1.0, dtype=np.float32)
    weight = np.zeros_like(distance)
    inner = torch.stack(torch.meshgrid(*[torch.arange(BLOCK)] * 3, indexing="ij"), -1).reshape(-1, 3)
    trusted = torch.where(valid, confidence, torch.zeros_like(confidence))
    for some in places.split(CHUNK // BLOCK**3):
        index = (BLOCK * some[:, None] + inner).reshape(-1, 3)
        found, trust = _observe(origin + side * index, depth, trusted, cameras, truncation * side)
        cells = tuple(index.T.numpy())
        distance[cells], weight[cells] = found.numpy(), trust.numpy()
    return Volume(distance, weight, origin.numpy(), side)


def colors_at(
    points: Float[Tensor, "n 3"],
    frames: Float[Tensor, "views 3 height width"],
    depth: Float[Tensor, "views height width"],
    cameras: Cameras,
    tolerance: float,
) -> tuple[Float[Tensor, "n 3"], Bool[Tensor, " n"]]:
    """Mean color in [0, 1] that the frames show of each point, and whether any shows it.

    A view shows a point that lies in it, no further than ``tolerance`` from its depth there. Views that are near count more.
    """
    total, weight = torch.zeros(len(points), 3), torch.zeros(len(points))
    size = (depth.shape[-2], depth.shape[-1])
    for view in range(len(depth)):
        pixel, z = project(points, Cameras(cameras.world_to_camera[view], cameras.intrinsics[view]))
        row, column, inside = _nearest_pixel(pixel, z, size)
        seen = inside & ((depth[view, row, column] - z).abs() < tolerance)
        share = torch.where(seen, z**-2, torch.zeros_like(z))
        total += share[:, None] * _bilinear(frames[view], pixel)
        weight += share
    return total / weight.clamp(min=1e-12)[:, None], weight > 0


def _blocks_near(points: Tensor, origin: Tensor, side: float, counts: list[int]) -> Tensor:
    """Indices [n, 3] of blocks that hold a point, and of all around them."""
    occupied = torch.zeros(counts)
    cells = ((points - origin) / side).floor().long()
    cells = cells[((cells >= 0) & (cells < torch.tensor(counts))).all(-1)]
    occupied[tuple(cells.T)] = 1
    return torch.nn.functional.max_pool3d(occupied[None], 3, stride=1, padding=1)[0].nonzero()


def _observe(
    places: Tensor, depth: Tensor, confidence: Tensor, cameras: Cameras, truncation: float
) -> tuple[Tensor, Tensor]:
    """Weighted mean of the views' truncated distances at places [n, 3], and the sum of the weights."""
    total, weight = torch.zeros(len(places)), torch.zeros(len(places))
    size = (depth.shape[-2], depth.shape[-1])
    for view in range(len(depth)):
        pixel, z = project(places, Cameras(cameras.world_to_camera[view], cameras.intrinsics[view]))
        row, column, inside = _nearest_pixel(pixel, z, size)
        trust = torch.where(inside, confidence[view, row, column], torch.zeros(()))
        gap = _surface(depth[view], pixel, depth[view, row, column]) - z
        # What lies behind a surface by the truncation or more is hidden from this view; a gap that is NaN says nothing.
        trust = torch.where(gap > -truncation, trust, torch.zeros(()))
        total += torch.where(trust > 0, trust * (gap / truncation).clamp(max=1), torch.zeros(()))
        weight += trust
    return torch.where(weight > 0, total / weight, torch.ones(())), weight


def _surface(depth: Tensor, pixel: Tensor, nearest: Tensor) -> Tensor:
    """Depth between pixels: bilinear in 1 / z, in which planes are straight; the nearest pixel's across an edge."""
    inverse = _bilinear((1 / depth)[None], pixel)[:, 0]
    smooth = (inverse * nearest - 1).abs() < 0.05
    return torch.where(smooth, 1 / inverse, nearest)


def _nearest_pixel(pixel: Tensor, z: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column (within the picture) and whether the place lies in the picture, before the camera."""
    height, width = size
    inside = (z > NEAR_PLANE) & (pixel >= 0).all(-1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    column, row = pixel.long().unbind(-1)
    return row.clamp(0, height - 1), column.clamp(0, width - 1), inside


def _bilinear(image: Tensor, pixel: Tensor) -> Tensor:
    """Values [n, channels] of an image [channels, height, width] at pixel coordinates [n, 2]."""
    size = pixel.new_tensor([image.shape[-1], image.shape[-2]])
    sample = (pixel / size * 2 - 1)[None, None]
    return torch.nn.functional.grid_sample(image[None], sample, padding_mode="border", align_corners=False)[0, :, 0].T
