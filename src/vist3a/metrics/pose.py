"""Camera pose errors, pairwise (free of the world frame) and after aligning trajectories."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vist3a.geometry.quaternion import rotation_angle
from vist3a.records import Cameras

STILL = 1e-9
"""Relative translations shorter than this have no direction."""


@dataclass(frozen=True)
class PairErrors:
    """Errors in degrees over all pairs of views i < j.

    ``rotation`` is the angle between the relative rotations. ``translation`` is the angle between the directions of the
    relative translations: in [0, 180]; 0 when both stand still, 180 when only one does, which ``one_still`` marks.
    """

    rotation: Float[Tensor, "*batch pairs"]
    translation: Float[Tensor, "*batch pairs"]
    one_still: Bool[Tensor, "*batch pairs"] | None = None

    @property
    def line(self) -> Float[Tensor, "*batch pairs"]:
        """``translation`` without the sign of the direction, at most 90 degrees.

        So do the published accuracies of PoseDiffusion and VGGT. Where only one camera moves it is 90.
        """
        angle = torch.minimum(self.translation, 180 - self.translation)
        return angle if self.one_still is None else angle.masked_fill(self.one_still, 90.0)


def pair_errors(prediction: Cameras, target: Cameras) -> PairErrors:
    """Compare the relative motion of every pair of views; the last batch axis of the cameras are the views."""
    views = prediction.world_to_camera.shape[-3]
    if views < 2 or prediction.world_to_camera.shape != target.world_to_camera.shape:
        raise ValueError(
            f"pose errors need two or more views, as many predicted as true, not {views} and "
            f"{target.world_to_camera.shape[-3]}"
        )
    first, second = torch.triu_indices(views, views, offset=1, device=prediction.world_to_camera.device)
    ours, true = _relative(prediction, first, second), _relative(target, first, second)
    rotation = torch.rad2deg(rotation_angle(ours[..., :3, :3], true[..., :3, :3]))
    moved, wanted = ours[..., :3, 3], true[..., :3, 3]
    one_still = (moved.norm(dim=-1) < STILL) ^ (wanted.norm(dim=-1) < STILL)
    return PairErrors(rotation, _direction_error(moved, wanted), one_still)


def accuracy_at(errors: Float[Tensor, "*batch pairs"], threshold: float) -> Float[Tensor, "*batch"]:
    """Share of errors below ``threshold`` (degrees): RRA@x of rotations, RTA@x of lines of translation."""
    return (errors < threshold).to(errors.dtype).mean(-1)


def pose_auc(errors: PairErrors, threshold: int = 30) -> Float[Tensor, "*batch"]:
    """Area under the accuracy curve of max(rotation, translation) error, normalised to [0, 1].

    As in PoseDiffusion and VGGT: the mean over x = 1 .. ``threshold`` degrees of the share of pairs erring less than x,
    directions of translations without their sign (:attr:`PairErrors.line`).
    """
    worst = torch.maximum(errors.rotation, errors.line)
    return torch.stack([accuracy_at(worst, float(x)) for x in range(1, threshold + 1)], dim=-1).mean(-1)


def trajectory_error(prediction: Cameras, target: Cameras) -> Float[Tensor, "*batch"]:
    """Error of the camera centres relative to the motion, after aligning scale only.

    Both trajectories are expressed in their first camera; the best least-squares scale is applied to the prediction;
    the root mean square error is divided by the root mean square distance of the true centres from the first. 0 is
    perfect, 1 is what a camera standing still gets; NaN when the true camera does not move.
    """
    ours, true = prediction.relative_to_first().centers, target.relative_to_first().centers
    scale = (ours * true).sum((-1, -2)) / ours.square().sum((-1, -2)).clamp(min=1e-30)
    # A negative scale would mirror the path.
    residual = scale.clamp(min=0)[..., None, None] * ours - true
    return (residual.square().sum((-1, -2)) / true.square().sum((-1, -2))).sqrt()


def _relative(cameras: Cameras, first: Tensor, second: Tensor) -> Float[Tensor, "*batch pairs 4 4"]:
    """Transforms from the frame of each first view to that of the second."""
    return cameras.world_to_camera[..., second, :, :] @ cameras.camera_to_world[..., first, :, :]


def _direction_error(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Angle in degrees, accurate near 0 and 180 (from the arc tangent, not the arc cosine)."""
    angle = torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))
    still_a, still_b = a.norm(dim=-1) < STILL, b.norm(dim=-1) < STILL
    angle = torch.where(still_a ^ still_b, torch.full_like(angle, 180.0), angle)
    return torch.where(still_a & still_b, torch.zeros_like(angle), angle)
