"""Where the camera must stand so that all objects are seen, and how they stand to each other in its image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vist3a_lab.procedural.attributes import BOTTOM_SPREAD, RELATIONS, TOP_SPREAD
from vist3a_lab.procedural.uniforms import Array, pick

PATH_SAMPLES = (0.0, 0.5, 1.0)
SEPARATION = 0.9
"""Wanted distance of two outlines in the image, in sums of their radii; below about 0.5 one hides most of the other."""
SEPARATION_IN_DEPTH = 0.7
IN_DEPTH_SHARE = 0.45
RELATION_MARGIN = 1.15


def _axes(path: Mapping[str, Array], parameter: float) -> tuple[Array, Array, Array]:
    """Unit vectors (towards the camera, right, up) of a camera on the path, each (rows, 3)."""
    azimuth = path["azimuth"] + path["sweep"] * parameter
    elevation = path["elevation"] + path["lift"] * parameter
    ca, sa, ce, se = (np.cos(azimuth), np.sin(azimuth), np.cos(elevation), np.sin(elevation))
    backward = np.stack([ce * ca, ce * sa, se], -1)
    right = np.stack([-sa, ca, np.zeros_like(sa)], -1)
    up = np.stack([-se * ca, -se * sa, ce], -1)
    return backward, right, up


def _radius_factor(path: Mapping[str, Array], parameter: float) -> Array:
    return 1 + path["dolly_start"] * (1 - parameter) + path["dolly_end"] * parameter


def _dot(points: Array, axis: Array) -> Array:
    """Dot product without a matrix product, whose summation order could depend on the batch."""
    axis = axis.reshape(len(axis), *([1] * (points.ndim - 2)), 3)
    product: Array = points[..., 0] * axis[..., 0] + points[..., 1] * axis[..., 1] + points[..., 2] * axis[..., 2]
    return product


def _centers(position: Array, height: Array, path: Mapping[str, Array]) -> Array:
    """Centres of the objects relative to the camera's target, (rows, ..., objects, 3)."""
    target = path["target_height"].reshape(-1, *([1] * (position.ndim - 2)))
    z = np.broadcast_to(height.reshape(len(height), *([1] * (position.ndim - 3)), -1) / 2 - target, position.shape[:-1])
    return np.concatenate([position, z[..., None]], -1)


def choose_orientation(
    position: Array,
    footprint: Array,
    height: Array,
    present: NDArray[np.bool_],
    path: Mapping[str, Array],
    uniforms: Array,
    wish: Array,
) -> Array:
    """Turn the layout about the vertical axis: the first of several random angles at which no object hides another.

    Objects that clear each other mostly stand side by side. In scenes with ``wish`` below ``IN_DEPTH_SHARE``, an angle
    at which some pair stands one behind the other is taken if there is one, and may hide a little more.
    """
    # Candidates on an axis of their own, between rows and objects.
    angles = uniforms * 2 * np.pi
    c, s = np.cos(angles)[:, :, None], np.sin(angles)[:, :, None]
    x, y = position[:, None, :, 0], position[:, None, :, 1]
    turned = np.stack([c * x - s * y, s * x + c * y], -1)
    centers = _centers(turned, height, path)
    # The path's radius follows from the layout and is not known yet: about what will frame these objects.
    reach = np.where(present, np.hypot(position[..., 0], position[..., 1]) + footprint, 0.0).max(1)
    distance = np.maximum(reach / (0.85 * np.tan(path["fov"] / 2)), 2.2)
    score = np.full(angles.shape, np.inf)
    in_depth = np.zeros(angles.shape, dtype=bool)
    for parameter in PATH_SAMPLES:
        backward, right, up = _axes(path, parameter)
        # The floor keeps an object that a candidate would put at the camera from flipping sides.
        depth = np.maximum(distance[:, None, None] - _dot(centers, backward), 0.3)
        u, v = _dot(centers, right) / depth, _dot(centers, up) / depth
        extent = footprint[:, None] / depth
        for first, second in ((0, 1), (0, 2), (1, 2)):
            apart = np.hypot(u[..., first] - u[..., second], v[..., first] - v[..., second])
            pair = apart / (extent[..., first] + extent[..., second])
            both = (present[:, first] & present[:, second])[:, None]
            # The worst pair anywhere on the path decides.
            score = np.minimum(score, np.where(both, pair, np.inf))
            # Relations are those of the first camera, so only it says who stands behind whom.
            if parameter == 0.0:
                away, aside = (values[..., first] - values[..., second] for values in (depth, u * depth))
                in_depth |= both & (np.abs(away) > 1.3 * np.abs(aside))
    good = score >= SEPARATION
    staggered = in_depth & (score >= SEPARATION_IN_DEPTH)
    good = np.where((wish < IN_DEPTH_SHARE)[:, None] & staggered.any(1, keepdims=True), staggered, good)
    # argmax of booleans is the first good angle; where none is good, the best of the bad ones.
    best = np.where(good.any(1), good.argmax(1), score.argmax(1))
    chosen: Array = turned[np.arange(len(turned)), best]
    return chosen


def fit_distance(
    position: Array,
    footprint: Array,
    height: Array,
    shape: NDArray[np.int64],
    present: NDArray[np.bool_],
    path: Mapping[str, Array],
    fill: Array,
) -> Array:
    """Smallest path radius at which all outlines stay within ``fill`` of the image half-width along the path.

    A point at offset q from the target is inside when |q.right| <= T (D - q.backward): linear in the distance D.
    """
    # A pan moves its aim off the target, by a quarter of ``truck`` at its ends; 0.3 leaves some room.
    tangent = fill * np.tan(path["fov"] / 2) - 0.3 * np.abs(path["truck"])
    # Outlines as eight points around the foot and eight around the top.
    angles = np.arange(8) * (np.pi / 4)
    ring = np.stack([np.cos(angles), np.sin(angles)], -1)
    outline = []
    for spread, level in ((BOTTOM_SPREAD, 0.0), (TOP_SPREAD, 1.0)):
        xy = position[:, :, None] + (footprint * pick(spread, shape))[:, :, None, None] * ring
        z = np.broadcast_to((height * level - path["target_height"][:, None])[:, :, None, None], (*xy.shape[:3], 1))
        outline.append(np.concatenate([xy, z], -1))
    points = np.concatenate(outline, axis=2)
    distance = np.zeros(len(position))
    for parameter in PATH_SAMPLES:
        backward, right, up = _axes(path, parameter)
        side = np.maximum(np.abs(_dot(points, right)), np.abs(_dot(points, up)))
        wanted = side / tangent[:, None, None] + _dot(points, backward)
        # The radius at this place of the path is the factor times the one that is returned.
        wanted = np.where(present[:, :, None], wanted, 0.0).max((1, 2)) / _radius_factor(path, parameter)
        distance = np.maximum(distance, wanted)
    return distance


def image_relations(
    position: Array, height: Array, present: NDArray[np.bool_], pose: Array
) -> tuple[Array, NDArray[np.int64]]:
    """Horizontal image position of the objects and pairwise relations (ids of ``RELATIONS``) for one camera.

    ``pose`` is the camera's world-to-camera matrix, (rows, 4, 4). A relation is sideways or in depth, whichever is
    clearly larger; -1 where neither is.
    """
    centers = np.concatenate([position, height[..., None] / 2], -1)
    side, depth = (_dot(centers, pose[:, row, :3]) + pose[:, None, row, 3] for row in (0, 2))
    image = side / depth
    # Entry (i, j) is how the second object lies from the first.
    across = side[:, None, :] - side[:, :, None]
    beyond = depth[:, None, :] - depth[:, :, None]
    lateral = np.abs(across) > RELATION_MARGIN * np.abs(beyond)
    axial = np.abs(beyond) > RELATION_MARGIN * np.abs(across)
    left, right, front, behind = range(len(RELATIONS))
    kind = np.select(
        [lateral & (image[:, :, None] < image[:, None, :]), lateral, axial & (beyond > 0), axial],
        [left, right, front, behind],
        -1,
    )
    both = present[:, :, None] & present[:, None, :]
    return image, np.where(both, kind, -1).astype(np.int64)
