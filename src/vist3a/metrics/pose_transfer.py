"""Does a scene look as if seen by the cameras it states? Poses estimated anew from its renderings, against its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.metrics.pose import pair_errors, pose_auc, trajectory_error
from vist3a.records.cameras import Cameras

THRESHOLD = 20
"""Degrees of the area under the curve, as XFactor reports it."""


@dataclass(frozen=True)
class PoseTransfer:
    """``similarity`` is the area under the accuracy curve up to 20 degrees of the pairwise pose errors, in [0, 1]; ``rotation``
    and ``translation`` their medians in degrees, ``trajectory`` the error of the centres relative to the motion.
    """

    similarity: Float[Tensor, " batch"]
    rotation: Float[Tensor, " batch"]
    translation: Float[Tensor, " batch"]
    trajectory: Float[Tensor, " batch"]


def pose_transfer(
    rendered: Float[Tensor, "batch views 3 height width"],
    cameras: Cameras,
    estimate: Callable[[Tensor], Cameras],
) -> PoseTransfer:
    """True pose similarity (Mitchel et al., 2025) of renderings from ``cameras``.

    ``estimate`` gives cameras for frames and must be independent of what decoded the scene. Its world frame and unit do
    not count. Needs no ground truth, so it judges generated scenes; with exact cameras it judges the estimate.
    """
    with torch.no_grad():
        seen = estimate(rendered)
    errors = pair_errors(seen, cameras)
    return PoseTransfer(
        similarity=pose_auc(errors, THRESHOLD),
        rotation=errors.rotation.median(-1).values,
        translation=errors.translation.median(-1).values,
        trajectory=trajectory_error(seen, cameras),
    )
