"""Depth of triangles along rays, by brute force: nothing of the project is in it but cameras."""

from __future__ import annotations

import numpy as np

from vist3a.records import Cameras


def mesh_depth(vertices: np.ndarray, faces: np.ndarray, cameras: Cameras, view: int, pixels: np.ndarray) -> np.ndarray:
    """z-depth at ``pixels`` [n, 2] (x, y) of one view, inf where no triangle is hit (Moeller and Trumbore, 1997)."""
    pose = cameras.world_to_camera[view].double().numpy()
    fx, fy, cx, cy = (float(cameras.intrinsics[view][i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    corners = (vertices.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3])[faces]
    first, side, other = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    depth = np.full(len(pixels), np.inf)
    for i, (x, y) in enumerate(pixels):
        # z of the direction is one, so that distances along it are depths.
        ray = np.array([(x - cx) / fx, (y - cy) / fy, 1.0])
        p = np.cross(ray, other)
        determinant = (side * p).sum(-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = -(first * p).sum(-1) / determinant
            q = np.cross(-first, side)
            v = (q @ ray) / determinant
            z = (other * q).sum(-1) / determinant
        hit = (np.abs(determinant) > 1e-15) & (u >= 0) & (v >= 0) & (u + v <= 1) & (z > 1e-6)
        if hit.any():
            depth[i] = z[hit].min()
    return depth
