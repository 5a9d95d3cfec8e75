"""Errors of a reconstruction against an exact scene, none of which depends on the world frame or unit of the reconstruction."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vist3a.data.ordering import fill_frames
from vist3a.geometry.normalisation import normalise_scene
from vist3a.geometry.projection import unproject_depth
from vist3a.geometry.similarity import umeyama
from vist3a.metrics.depth import depth_errors
from vist3a.metrics.image import psnr, ssim
from vist3a.metrics.pose import accuracy_at, pair_errors, pose_auc
from vist3a.metrics.surface import surface_errors
from vist3a.metrics.trajectory import trajectory_errors
from vist3a.records import Cameras, Reconstruction
from vist3a.records.frame_count import AllowedFrames
from vist3a.rendering.base import Renderer
from vist3a_lab.procedural import WorldBatch

F_SCORE_DISTANCE = 0.02
ICP_DISTANCE = 0.1
"""Lengths in units of the mean distance of the scene's points from the first camera."""
ANGLE = 5.0
"""Degrees of the relative rotation and translation accuracy, as in the paper's table 5."""


@dataclass(frozen=True)
class Truth:
    """One scene: frames [1, views, 3, height, width], cameras and z-depth in its first camera's frame, mean distance 1."""

    frames: Tensor
    cameras: Cameras
    depth: Tensor

    @classmethod
    def of(cls, batch: WorldBatch) -> Truth:
        """Of a rendered scene."""
        cameras, depth, _ = normalise_scene(batch.cameras, batch.depth)
        return cls(batch.rgb, cameras, depth)


def geometry_errors(output: Reconstruction, truth: Truth, pixel_step: int, icp: bool = False) -> dict[str, float]:
    """Depth, pointmap and pose errors of a reconstruction of all frames, per view in the order of the truth.

    Depth after one scale per scene; surfaces of every ``pixel_step``-th pixel both ways after Umeyama and, where asked for, ICP
    (``accuracy``, ``completeness``, ``normals``, ``f_score``), ``points`` the relative distance of corresponding points after
    Umeyama;
    ``rra_5``, ``rta_5``, ``auc_30`` and median angles over all pairs of views; ``ate`` and ``rpe`` after Umeyama.
    """
    depth = depth_errors(output.depth.flatten(1, 2), truth.depth.flatten(1, 2))
    # Thinned: every point is compared with all others.
    grid = slice(pixel_step // 2, None, pixel_step)
    ours, true = (p[:, :, grid, grid] for p in (output.points, unproject_depth(truth.depth, truth.cameras)))
    surface = surface_errors(ours[0], true[0], F_SCORE_DISTANCE, icp_distance=ICP_DISTANCE if icp else None)
    pairs = pair_errors(output.cameras, truth.cameras)
    path = trajectory_errors(output.cameras[0], truth.cameras[0])
    values: dict[str, Tensor | float] = {
        "depth_absrel": depth.abs_rel.mean(),
        "depth_delta_125": depth.delta_125.mean(),
        "points": _relative_distance(ours.flatten(0, -2), true.flatten(0, -2)),
        "accuracy": surface.accuracy,
        "completeness": surface.completeness,
        "normals": surface.normals,
        "f_score": surface.f_score,
        "rotation_deg": pairs.rotation.median(),
        "translation_deg": pairs.translation.median(),
        "rra_5": accuracy_at(pairs.rotation, ANGLE).mean(),
        "rta_5": accuracy_at(pairs.line, ANGLE).mean(),
        "auc_30": pose_auc(pairs).mean(),
        "ate": path.ate,
        "rpe_translation": path.rpe_translation,
        "rpe_rotation": path.rpe_rotation,
    }
    return {name: float(value) for name, value in values.items()}


def novel_view_split(views: int) -> tuple[list[int], list[int]]:
    """Source and target views in video order: of every three the middle one is a target. 12 or 13 views give 8 and 4."""
    if views < 3:
        raise ValueError(f"{views} views; novel views need at least 3")
    targets = list(range(1, views // 3 * 3, 3))
    return [i for i in range(views // 3 * 3) if i not in targets], targets


def novel_view_errors(
    output: Reconstruction, truth: Truth, render: Renderer, allowed: AllowedFrames
) -> dict[str, float]:
    """PSNR (dB) and SSIM of the target views of :func:`novel_view_split`, from a reconstruction of its filled source views.

    They are filled by the generator's rule ``allowed`` (see :func:`fill_frames`).

    Rendered at the *true* cameras relative to the first view, with translations times the median ratio of predicted to true
    depth. The paper predicts the target poses in a second pass instead, which lets a wrong pose hide a wrong scene.
    """
    if output.gaussians is None:
        raise ValueError("novel views need a reconstruction network with a Gaussian head")
    sources, targets = novel_view_split(truth.frames.shape[1])
    pose = truth.cameras.world_to_camera[:, targets].clone()
    # True steps of the camera in the network's own unit.
    pose[..., :3, 3] *= (output.depth / truth.depth[:, list(fill_frames(tuple(sources), allowed))]).median()
    size = (truth.frames.shape[-2], truth.frames.shape[-1])
    seen = render(output.gaussians, Cameras(pose, truth.cameras.intrinsics[:, targets]), size).rgb.clamp(0, 1)
    wanted = truth.frames[:, targets]
    return {"nvs_psnr": float(psnr(seen, wanted).mean()), "nvs_ssim": float(ssim(seen, wanted).mean())}


def _relative_distance(ours: Tensor, true: Tensor) -> Tensor:
    """Mean distance of corresponding points after Umeyama, in units of the true points' mean distance from their centroid."""
    scale, rotation, translation = umeyama(ours.double(), true.double())
    apart = (scale * ours.double() @ rotation.T + translation - true).norm(dim=-1)
    return apart.mean() / (true - true.mean(0)).norm(dim=-1).mean()
