"""Output of a multi-view 3D network in the project's conventions."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vist3a.records.cameras import Cameras
from vist3a.records.gaussians import Gaussians


@dataclass(frozen=True)
class Reconstruction:
    """Cameras, depth, pointmaps and (for networks that have them) rays and Gaussians.

    World = first camera, or the reference view's where a network chooses one, or a frame of the network's own.

    ``depth`` is z-depth in the network's own unit. ``points`` are world points per pixel. Confidences are >= 1
    where the network defines them so. ``pose_encodings``, of networks whose camera head gives nine numbers, holds its
    refinement iterations (translation, quaternion xyzw, vertical and horizontal field of view in radians), last one used;
    as the network defines them: of world to camera, of Depth Anything 3 camera to world. Whoever needs nine numbers of any
    network takes ``geometry.pose_encoding.encodings_of``.
    ``gaussian_features`` are the raw per-pixel channels of the Gaussian head, ``gaussian_confidence`` its raw confidence.
    ``rays`` are world rays on a grid of their own that spans the frame: direction (3, not of unit length: a world point
    is origin + z-depth * direction), then origin (3).
    """

    cameras: Cameras
    depth: Float[Tensor, "batch views height width"]
    depth_confidence: Float[Tensor, "batch views height width"]
    points: Float[Tensor, "batch views height width 3"]
    points_confidence: Float[Tensor, "batch views height width"]
    pose_encodings: Float[Tensor, "iterations batch views 9"] | None = None
    gaussians: Gaussians | None = None
    gaussian_features: Float[Tensor, "batch views channels height width"] | None = None
    gaussian_confidence: Float[Tensor, "batch views height width"] | None = None
    rays: Float[Tensor, "batch views ray_rows ray_columns 6"] | None = None
    rays_confidence: Float[Tensor, "batch views ray_rows ray_columns"] | None = None
