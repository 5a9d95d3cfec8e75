"""Errors of camera trajectories after a similarity alignment: ATE and RPE (Sturm et al., 2012)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vist3a.geometry.quaternion import rotation_angle
from vist3a.geometry.similarity import umeyama
from vist3a.records.cameras import Cameras


@dataclass(frozen=True)
class TrajectoryErrors:
    """Root mean squares: ``ate`` of the centres, ``rpe_translation`` of the steps (both in the target's unit) and
    ``rpe_rotation`` of the turns between neighbours (degrees).
    """

    ate: float
    rpe_translation: float
    rpe_rotation: float


def trajectory_errors(prediction: Cameras, target: Cameras, step: int = 1) -> TrajectoryErrors:
    """Compare the views of one scene after the similarity that fits the camera centres best (Umeyama).

    ``step`` is the number of views from one neighbour of the relative errors to the other. The paper's tables (section 4.3) hold
    ATE and RPE from Pi3's evaluation code; the definitions are those of the TUM benchmark with scale correction.

    Raises:
        ValueError: Fewer views than three or than ``step`` + 1, or not as many as there are true ones.
    """
    ours, true = prediction.to(dtype=torch.float64), target.to(dtype=torch.float64)
    views = len(true.world_to_camera)
    if len(ours.world_to_camera) != views or views < max(3, step + 1) or step < 1:
        allowed = f"as many predicted as true ones and at least {max(3, step + 1)} are needed"
        raise ValueError(f"{len(ours.world_to_camera)} and {views} views with step {step}; {allowed}")
    scale, rotation, translation = umeyama(ours.centers, true.centers)
    centers = scale * ours.centers @ rotation.T + translation
    aligned = ours.camera_to_world.clone()
    aligned[:, :3, :3], aligned[:, :3, 3] = rotation @ aligned[:, :3, :3], centers
    moved, wanted = _steps(aligned, step), _steps(true.camera_to_world, step)
    turns = torch.rad2deg(rotation_angle(moved[:, :3, :3], wanted[:, :3, :3]))
    # E = wanted^-1 moved; its translation has the length of the difference of both, as rotations keep lengths.
    slips = (moved[:, :3, 3] - wanted[:, :3, 3]).norm(dim=-1)
    return TrajectoryErrors(_rms((centers - true.centers).norm(dim=-1)), _rms(slips), _rms(turns))


def _steps(camera_to_world: Tensor, step: int) -> Tensor:
    """Pose of each later view in the frame of the earlier one."""
    first, second = camera_to_world[:-step], camera_to_world[step:]
    # first^-1 second.
    return torch.linalg.solve(first, second)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
