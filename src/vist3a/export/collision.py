"""Meshes to stand on and bump into: few triangles, closed, with the ground as a plate under all that was seen of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.export.fusion import fuse_depth
from vist3a.export.mesh import NEEDS, fusion_inputs, largest_pieces, surface
from vist3a.geometry.ground import Ground, find_ground
from vist3a.records import Reconstruction

LARGEST_HOLE = 0.02
"""Holes in the ground with more of its area are worth a flag."""
CELLS = 48
"""Of the raster in which holes are counted, along either side."""

DIRECTIONS = 32
"""In which the ground's outline is looked for."""


@dataclass(frozen=True)
class CollisionMesh:
    """Triangles in the scene's frame and unit, and what is to be known of them.

    Attributes:
        vertices: Corners.
        faces: Corners of triangles, counterclockwise seen from outside.
        ground: The plane of the plate; None where no ground was found, and no plate is there.
        seen_hole: Largest hole in what was seen of the ground, before the plate, as a share of its convex hull (1: no ground).
        hole: The same of the file.
        closed: Whether no edge is open.
    """

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    ground: Ground | None
    seen_hole: float
    hole: float
    closed: bool

    @property
    def flagged(self) -> bool:
        """Whether somebody who walks here may fall."""
        return self.hole > LARGEST_HOLE


def collision_mesh(scene: Reconstruction, resolution: int, faces: int, drop: float = 0.1) -> CollisionMesh:
    """The fused surface as a closed shell, simplified to about ``faces`` triangles, and the plate of the ground.

    The shell's back lies where no view could see any more, a few voxels behind the surface.

    Args:
        scene: Depth, confidence and cameras (the first of the batch).
        resolution: Voxels along the longest side of the volume.
        faces: Triangles that the shell may have.
        drop: Share of the depths with the lowest confidence that is left out.

    Raises:
        ValueError: No surface is left.
        ModuleNotFoundError: The extra ``mesh`` is not installed.
    """
    try:
        from fast_simplification import simplify
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS) from error
    depth, trust, cameras = fusion_inputs(scene, drop)
    volume = fuse_depth(depth, trust, cameras, resolution)
    vertices, triangles = largest_pieces(*surface(volume, closed=True), 0.005)
    if not len(triangles):
        raise ValueError("the depth maps meet in no surface; allowed: a scene whose views see the same places")
    if len(triangles) > faces:
        vertices, triangles = simplify(vertices, triangles.astype(np.int32), 1 - faces / len(triangles))
        # It computes in float64, which files do not hold.
        vertices, triangles = vertices.astype(np.float32), triangles.astype(np.int64)
    points = scene.points[0].detach().float().cpu().reshape(-1, 3)
    ground = find_ground(points, cameras)
    if ground is None:
        return CollisionMesh(vertices, triangles, None, 1.0, 1.0, is_closed(triangles))
    to_plane, rim = _hull(points, ground, volume.side)
    seen = largest_hole(to_plane(vertices), triangles, rim)
    plate = _plate(ground, to_plane.axes, rim, 2 * volume.side)
    triangles = np.concatenate([triangles, plate[1] + len(vertices)])
    vertices = np.concatenate([vertices, plate[0].astype(np.float32)])
    hole = largest_hole(to_plane(vertices), triangles, rim)
    return CollisionMesh(vertices, triangles, ground, seen, hole, is_closed(triangles))


def is_closed(faces: Int[np.ndarray, "m 3"]) -> bool:
    """Whether no edge is open: faces run along each as often one way as the other.

    Simplification pinches: thin places may touch along an edge, which then belongs to four faces.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    found, index = np.unique(np.sort(edges), axis=0, return_inverse=True)
    sense = np.bincount(index.ravel(), np.where(edges[:, 0] < edges[:, 1], 1.0, -1.0), len(found))
    return bool(len(found)) and not sense.any()


def largest_hole(
    vertices: Float[np.ndarray, "n 2"], faces: Int[np.ndarray, "m 3"], rim: Float[np.ndarray, "k 2"]
) -> float:
    """Largest connected part of a convex polygon (``rim``, counterclockwise) that triangles leave open, as a share of it.

    Example:
        >>> largest_hole(square, triangles, square)  # two triangles that are the square
        0.0
    """
    from scipy.ndimage import label

    low, step = rim.min(0), (rim.max(0) - rim.min(0)) / CELLS
    centers = low + step * (
        np.stack(np.meshgrid(*[np.arange(CELLS)] * 2, indexing="ij"), -1).reshape(CELLS**2, 2) + 0.5
    )
    inside = _within(centers, rim)
    covered = np.zeros(len(centers), dtype=bool)
    corners = vertices[faces]
    turned = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) < 0
    corners[turned] = corners[turned][:, ::-1]
    first = np.floor((corners.min(1) - low) / step).astype(int).clip(0, CELLS - 1)
    last = np.floor((corners.max(1) - low) / step).astype(int).clip(0, CELLS - 1)
    for triangle, (i, j), (k, m) in zip(corners, first, last, strict=True):
        cells = (np.arange(i, k + 1)[:, None] * CELLS + np.arange(j, m + 1)).ravel()
        cells = cells[~covered[cells]]
        covered[cells[_within(centers[cells], triangle)]] = True
    parts, _ = label((inside & ~covered).reshape(CELLS, CELLS))
    sizes = np.bincount(parts.ravel())[1:]
    return float(sizes.max() / inside.sum()) if len(sizes) else 0.0


@dataclass(frozen=True)
class _Plane:
    """Coordinates in a plane: its two axes as rows."""

    axes: Float[np.ndarray, "2 3"]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points @ self.axes.T


def _hull(points: Tensor, ground: Ground, tolerance: float) -> tuple[_Plane, np.ndarray]:
    """Axes of the ground, and the convex hull of the points on it, counterclockwise seen from above."""
    normal = ground.normal.double()
    # Any axis that is not the normal gives the first.
    other = torch.zeros(3, dtype=torch.float64)
    other[int(normal.abs().argmin())] = 1
    first = torch.nn.functional.normalize(torch.linalg.cross(normal, other), dim=0)
    plane = _Plane(torch.stack([first, torch.linalg.cross(normal, first)]).numpy())
    on = points[torch.isfinite(points).all(-1)].double()
    flat = plane(on[ground.height(on).abs() < 2 * tolerance].numpy())
    # The outermost points in so many directions are the hull, with few corners.
    angle = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    outermost = (flat @ np.stack([np.cos(angle), np.sin(angle)])).argmax(0)
    return plane, flat[list(dict.fromkeys(outermost.tolist()))]


def _plate(
    ground: Ground, axes: np.ndarray, rim: np.ndarray, thickness: float
) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "m 3"]]:
    """A closed prism whose top is the polygon in the ground."""
    normal, count = ground.normal.double().numpy(), len(rim)
    top = rim @ axes + ground.offset * normal
    around, after = np.arange(count), np.roll(np.arange(count), -1)
    fan = np.stack([np.zeros(count - 2, int), np.arange(1, count - 1), np.arange(2, count)], -1)
    sides = np.concatenate(
        [np.stack([around, around + count, after], -1), np.stack([after, around + count, after + count], -1)]
    )
    return np.concatenate([top, top - thickness * normal]), np.concatenate([fan, fan[:, ::-1] + count, sides])


def _within(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Whether points lie in a convex counterclockwise polygon, its rim included."""
    sides = np.roll(polygon, -1, 0) - polygon
    return np.asarray((_cross(sides[None], points[:, None] - polygon[None]) >= -1e-12).all(1))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])
