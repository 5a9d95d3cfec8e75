"""Reconstruction of views in any order: as a smooth sequence, with the results given back as the views came.

VIST3A (section F) says of its input that it must be a smooth sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vist3a.data.ordering import ViewOrder, order_views
from vist3a.data.view_distance import picture_distance
from vist3a.records import Cameras, Reconstruction
from vist3a.records.frame_count import AllowedFrames


def reconstruct_unordered(
    reconstruct: Callable[[Tensor], Reconstruction],
    views: Float[Tensor, "1 views 3 height width"],
    allowed: AllowedFrames,
) -> Reconstruction:
    """``reconstruct`` on the smooth sequence of ``views`` (RGB in [0, 1]), found from the pictures alone; results per input view.

    The world stays that of the first view *of the sequence*, one end of the path, as all of the network's outputs refer to it.
    ``allowed`` is the generator's rule of frame counts; the last view is repeated to fill the sequence.
    """
    order = order_views(picture_distance(views[0]), allowed)
    return restored(reconstruct(order.arrange(views, dim=1)), order)


def restored(output: Reconstruction, order: ViewOrder) -> Reconstruction:
    """What was reconstructed from the places of a sequence, per view in the order of the input; Gaussians stay as they are."""
    cameras = Cameras(
        order.restore(output.cameras.world_to_camera, dim=1), order.restore(output.cameras.intrinsics, dim=1)
    )
    per_view = (
        "depth", "depth_confidence", "points", "points_confidence", "gaussian_features", "gaussian_confidence", "rays",
        "rays_confidence",
    )  # fmt: skip
    changed: dict[str, Any] = {}
    if output.pose_encodings is not None:
        # Iterations of the camera head come first, so that views are the third axis.
        changed["pose_encodings"] = order.restore(output.pose_encodings, dim=2)
    for name in per_view:
        values = getattr(output, name)
        changed[name] = None if values is None else order.restore(values, dim=1)
    return replace(output, cameras=cameras, **changed)
