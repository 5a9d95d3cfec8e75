"""Triangle meshes with vertex colors of a scene: the zero level of its fused depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.export.fusion import Volume, colors_at, fuse_depth
from vist3a.records import Cameras, Reconstruction

NEEDS = "meshes need scikit-image and fast-simplification, which are not installed here; allowed: pip install 'vist3a[mesh]'"


@dataclass(frozen=True)
class Mesh:
    """Triangles whose corners run counterclockwise seen from outside, in a right-handed frame; colors are sRGB in [0, 1]."""

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]
    colors: Float[np.ndarray, "n 3"]


def scene_mesh(
    scene: Reconstruction,
    frames: Float[Tensor, "1 views 3 height width"],
    resolution: int = 192,
    drop: float = 0.1,
    smallest: float = 0.001,
) -> Mesh:
    """The surface of a scene (the first of its batch) in its own frame and unit.

    Args:
        scene: Depth, confidence and cameras.
        frames: Colors in [0, 1] of the same views.
        resolution: Voxels along the longest side of the volume.
        drop: Share of the depths with the lowest confidence that is left out.
        smallest: Pieces with a smaller share of all faces are left out.

    Raises:
        ValueError: No surface is left.
        ModuleNotFoundError: The extra ``mesh`` is not installed.

    Example:
        >>> mesh = scene_mesh(exported.scene, exported.frames)
        >>> mesh.vertices.shape, mesh.faces.shape
    """
    depth, trust, cameras = fusion_inputs(scene, drop)
    volume = fuse_depth(depth, trust, cameras, resolution)
    vertices, faces = largest_pieces(*surface(volume), smallest)
    if not len(faces):
        raise ValueError("the depth maps meet in no surface; allowed: a scene whose views see the same places")
    places = torch.from_numpy(vertices)
    colors, seen = colors_at(places, frames[0].detach().float().cpu(), depth, cameras, 4 * volume.side)
    return Mesh(vertices, faces, _spread(vertices, colors.numpy(), seen.numpy()).clip(0, 1))


def fusion_inputs(
    scene: Reconstruction, drop: float
) -> tuple[Float[Tensor, "views height width"], Float[Tensor, "views height width"], Cameras]:
    """Depth, confidence (0 for the share ``drop`` with the lowest) and cameras of the first scene of a batch, on the CPU."""
    trust = scene.depth_confidence[0].detach().float().cpu().clone()
    # By rank, as points are left out: equal confidences do not change how many go.
    trust.view(-1)[torch.argsort(trust.view(-1), stable=True)[: int(drop * trust.numel())]] = 0
    return scene.depth[0].detach().float().cpu(), trust, scene.cameras[0].detach().to("cpu", torch.float32)


def surface(volume: Volume, closed: bool = False) -> tuple[Float[np.ndarray, "n 3"], Int[np.ndarray, "m 3"]]:
    """Vertices and faces of the zero level (marching cubes), only between voxels that were seen.

    ``closed``: also where seen and unseen voxels meet behind a surface, which makes closed shells of it.
    """
    try:
        from skimage.measure import marching_cubes
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NEEDS) from error
    seen = volume.weight > 0
    distance = np.where(seen, volume.distance, 1.0).astype(np.float32)
    if not (distance < 0).any():
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)
    # A border of outside closes shells that the volume cuts.
    vertices, faces, _, _ = marching_cubes(np.pad(distance, 1, constant_values=1.0), 0.0, gradient_direction="descent")
    places = (volume.origin + volume.side * (vertices - 1)).astype(np.float32)
    if closed:
        return places, faces.astype(np.int64)
    # A vertex lies on an edge between two voxels: both must have been seen, and none of the border was.
    low, high = np.floor(vertices).astype(np.int64), np.ceil(vertices).astype(np.int64)
    known = np.pad(seen, 1)
    whole = known[tuple(low.T)] & known[tuple(high.T)]
    faces = faces[whole[faces].all(1)].astype(np.int64)
    return compact(places, faces)


def compact(
    vertices: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "m 3"]
) -> tuple[Float[np.ndarray, "k 3"], Int[np.ndarray, "m 3"]]:
    """The same faces, without vertices that none uses."""
    used, index = np.unique(faces, return_inverse=True)
    return vertices[used], index.reshape(faces.shape)


def largest_pieces(
    vertices: np.ndarray, faces: np.ndarray, smallest: float
) -> tuple[Float[np.ndarray, "k 3"], Int[np.ndarray, "l 3"]]:
    """Without connected pieces that have a smaller share of all faces than ``smallest``."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(faces):
        return vertices, faces
    ends = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(vertices),) * 2)
    piece = connected_components(links)[1][faces[:, 0]]
    size = np.bincount(piece)
    return compact(vertices, faces[size[piece] >= smallest * len(faces)])


def _spread(vertices: np.ndarray, colors: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Vertices that no frame shows get the color of the nearest one that is shown."""
    from scipy.spatial import cKDTree

    if seen.all() or not seen.any():
        return colors
    _, nearest = cKDTree(vertices[seen]).query(vertices[~seen])
    filled = colors.copy()
    filled[~seen] = colors[seen][nearest]
    return filled
