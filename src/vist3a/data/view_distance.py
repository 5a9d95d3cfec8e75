"""How far two views of a scene are apart: from their pictures alone, or from cameras and depth."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vist3a.geometry.projection import project, unproject_depth
from vist3a.geometry.quaternion import rotation_angle
from vist3a.records.cameras import Cameras

THUMB = 16
REACH = 2
"""Largest shift of a quarter in either direction: an eighth of the picture."""
DIGITS = 9
"""Distances are rounded, so that they do not depend on the order in which views were batched."""
SAMPLES = 32
"""Points per side that an overlap is measured on."""


def picture_distance(frames: Float[Tensor, "views 3 height width"]) -> NDArray[np.float64]:
    """Mean absolute colour difference of 16 x 16 thumbnails, each quarter of one at its best place in the other.

    A quarter moves by up to two pixels: finer blocks and a correlation over wide shifts match what does not belong together, and
    order fewer clips (``benchmarks/view_ordering.py``). Both ways are averaged. RGB in [0, 1] gives [views, views] in [0, 1].
    """
    thumbs = F.interpolate(frames.double(), (THUMB, THUMB), mode="area")
    # Each quarter against every shift within reach; the best place counts.
    around = F.pad(thumbs, (REACH,) * 4, mode="replicate")
    quarters, best = _quarters(thumbs), None
    for down in range(2 * REACH + 1):
        for right in range(2 * REACH + 1):
            there = _quarters(around[:, :, down : down + THUMB, right : right + THUMB])
            apart = torch.cdist(quarters, there, p=1) / quarters.shape[-1]
            best = apart if best is None else torch.minimum(best, apart)
    assert best is not None
    return _symmetric(best.mean(0))


def overlap_distance(cameras: Cameras, depth: Float[Tensor, "views height width"]) -> NDArray[np.float64]:
    """One minus the share of a view's surface points that fall into the other view, mean of both ways; [views, views].

    A thousandth of the camera distance is added: it decides where no overlap is left, or where all of it is. Hidden points
    count as seen.
    """
    height, width = depth.shape[-2:]
    views = len(depth)
    points = unproject_depth(depth, cameras)
    # A grid of points is enough to tell a share.
    rows, columns = (torch.linspace(0, n - 1, min(n, SAMPLES)).round().long() for n in depth.shape[-2:])
    usable = (torch.isfinite(depth) & (depth > 0))[:, rows][:, :, columns].flatten(1)
    points = points[:, rows][:, :, columns].flatten(1, 2)
    seen = torch.zeros(views, views, dtype=torch.float64)
    # A view's points into all cameras at a time: memory grows with the views, not with their pairs.
    for i in range(views):
        place, z = project(points[i].expand(views, -1, 3), cameras)
        inside = (place > 0).all(-1) & (place[..., 0] < width) & (place[..., 1] < height) & (z > 0)
        seen[i] = (inside & usable[i]).sum(-1) / usable[i].sum().clamp(min=1)
    return _symmetric(1 - seen + 1e-3 * torch.from_numpy(camera_distance(cameras)))


def camera_distance(cameras: Cameras) -> NDArray[np.float64]:
    """Distance of the centres in units of the largest one, plus the angle between the orientations in units of pi."""
    exact = cameras.to(dtype=torch.float64)
    views = len(exact.world_to_camera)
    centers, rotations = exact.centers, exact.world_to_camera[:, :3, :3].expand(views, -1, -1, -1)
    apart = (centers[:, None] - centers[None]).norm(dim=-1)
    turned = rotation_angle(rotations, rotations.transpose(0, 1))
    # The floor is for cameras that all stand in one place.
    return _symmetric(apart / apart.max().clamp(min=1e-30) + turned / torch.pi)


def _quarters(thumbs: Float[Tensor, "views 3 16 16"]) -> Float[Tensor, "4 views numbers"]:
    return F.unfold(thumbs, THUMB // 2, stride=THUMB // 2).permute(2, 0, 1).contiguous()


def _symmetric(distances: Tensor) -> NDArray[np.float64]:
    both = ((distances + distances.T) / 2).cpu().numpy().astype(np.float64)
    np.fill_diagonal(both, 0)
    return np.round(both, DIGITS)
