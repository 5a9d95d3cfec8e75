"""Reconstructions of scenes that are known exactly, compared with the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.normalisation import normalise_scene
from vist3a.metrics.aggregate import bootstrap_interval
from vist3a.metrics.depth import depth_errors
from vist3a.metrics.image import psnr
from vist3a.metrics.pose import pair_errors, trajectory_error
from vist3a.records import Cameras, ExactScenes, Reconstruction
from vist3a.rendering.base import Renderer


@torch.no_grad()
def compare_with_truth(
    variants: Mapping[str, Callable[[Tensor], Reconstruction]],
    scenes: Iterable[ExactScenes],
    render: Renderer,
    seed: int,
) -> dict[str, dict[str, dict[str, float]]]:
    """Per variant and error (see :func:`scene_errors`): mean with its 95 % bootstrap interval over scenes, and median.

    A variant maps frames [1, views, 3, height, width] in [0, 1] to a reconstruction with Gaussians; ``scenes`` come one by one.
    """
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for scene in scenes:
        for name, reconstruct in variants.items():
            rows[name].append(scene_errors(reconstruct(scene.given), scene, render)[0])
    return {name: _summary(pd.DataFrame(found), seed) for name, found in rows.items()}


def scene_errors(
    output: Reconstruction, scene: ExactScenes, render: Renderer
) -> tuple[dict[str, float], Float[Tensor, "1 views 3 height width"]]:
    """Errors of a reconstruction of the given views of one scene against its truth, and the rendered held-out views.

    Depth error is |z/z' - 1| after making the medians agree; rotation (degrees) the median over all pairs of views;
    translation the residual of the aligned trajectory relative to its extent. ``nvs_psnr``: the views that were not given,
    rendered from the predicted Gaussians at the true cameras relative to the first one, whose translations are multiplied by
    the median ratio of predicted to true depth (the network's own scale is free).
    """
    # In the unit of the given views alone, as a network sees no others.
    cameras, depth, _ = normalise_scene(scene.cameras, scene.depth, frames=scene.frames)
    seen, true_depth = cameras[:, : scene.frames], depth[:, : scene.frames]
    unseen = cameras[:, scene.frames :]
    pose = unseen.world_to_camera.clone()
    # The true path in the network's own unit.
    pose[..., :3, 3] *= (output.depth / true_depth).median()
    size = (scene.rgb.shape[-2], scene.rgb.shape[-1])
    image = rendered_views(output, Cameras(pose, unseen.intrinsics), render, size)
    errors = {
        "depth_absrel": depth_errors(output.depth.flatten(1, 2), true_depth.flatten(1, 2)).abs_rel.mean(),
        "rotation_deg": pair_errors(output.cameras, seen).rotation.median(),
        "translation_relative": trajectory_error(output.cameras, seen).mean(),
        "nvs_psnr": psnr(image, scene.rgb[:, scene.frames :]).mean(),
    }
    return {name: float(value) for name, value in errors.items()}, image


def rendered_views(
    output: Reconstruction, cameras: Cameras, render: Renderer, size: tuple[int, int]
) -> Float[Tensor, "1 views 3 height width"]:
    """The Gaussians seen by ``cameras``, in [0, 1]; ``size`` is (height, width). ValueError where there are no Gaussians."""
    if output.gaussians is None:
        raise ValueError("novel views need a reconstruction network with a Gaussian head")
    return render(output.gaussians, cameras, size).rgb.clamp(0, 1)


def _summary(table: pd.DataFrame, seed: int) -> dict[str, dict[str, float]]:
    summary = {}
    for error in table.columns:
        values = table[error].tolist()
        low, high = bootstrap_interval(values, seed)
        summary[str(error)] = {
            "mean": float(table[error].mean()),
            "median": float(table[error].median()),
            "low": low,
            "high": high,
        }
    return summary
