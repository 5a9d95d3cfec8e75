"""Autoencoder and reconstruction network against the exact images, depth and cameras of unseen scenes."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.geometry.normalisation import normalise_scene
from vist3a.metrics.depth import depth_errors
from vist3a.metrics.image import psnr
from vist3a.metrics.pose import pair_errors, trajectory_error
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Cameras, Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.runtime.progress import progress
from vist3a_lab.procedural import WorldBatch, WorldConfig, make_world


@dataclass(frozen=True)
class GeometryFigures:
    """One row per scene, and pictures of each: given view, autoencoder's copy, held-out view, its rendering."""

    rows: pd.DataFrame
    pictures: list[Float[Tensor, "4 3 height width"]]

    def summary(self) -> dict[str, dict[str, float]]:
        """Figures by network: mean and median of every column, and the autoencoder's worst kind of ground."""
        mean, median = self.rows.mean(numeric_only=True), self.rows.median(numeric_only=True)
        grounds = self.rows.groupby("ground")["vae_psnr"].mean()
        return {
            "vae": {
                "psnr_mean": float(mean["vae_psnr"]),
                "psnr_worst_ground": float(grounds.min()),
                "psnr_worst_clip": float(self.rows["vae_psnr"].min()),
            },
            "recon": {
                "depth_absrel_median": float(median["depth_absrel"]),
                "depth_absrel_mean": float(mean["depth_absrel"]),
                "rotation_median_deg": float(median["rotation_deg"]),
                "rotation_mean_deg": float(mean["rotation_deg"]),
                "translation_relative_median": float(median["translation_relative"]),
                "nvs_psnr": float(mean["nvs_psnr"]),
                "nvs_psnr_median": float(median["nvs_psnr"]),
                "nvs_psnr_worst": float(self.rows["nvs_psnr"].min()),
                "given_view_psnr": float(mean["given_view_psnr"]),
            },
        }

    def by_novel_view(self) -> list[int]:
        """Scene positions, best novel views first."""
        return [int(i) for i in self.rows["nvs_psnr"].sort_values(ascending=False).index]


@torch.no_grad()
def measure_geometry(
    generator: VideoGenerator,
    network: ReconstructionModel,
    render: Renderer,
    world: WorldConfig,
    scenes: int,
    device: torch.device,
) -> GeometryFigures:
    """Measure on scenes 0 .. ``scenes`` - 1 of ``world``, whose seed nothing was trained on; PSNR in dB, mean over views."""
    rows, pictures = [], []
    for index in progress(range(scenes), "measure networks", scenes):
        batch = make_world(world, [index], device=device)
        frames, middle = batch.rgb[:, : world.frames], world.frames // 2
        decoded = generator.decode(generator.encode(frames))
        output = network.reconstruct(frames)
        row, image = scene_errors(output, batch, world, render)
        given = _render(output, output.cameras, render, world)
        rows.append(
            {
                "scene": index,
                "ground": batch.scenes.descriptions()[0].ground,
                "vae_psnr": float(psnr(decoded, frames).mean()),
                "given_view_psnr": float(psnr(given, frames).mean()),
                **row,
            }
        )
        held_out = batch.rgb[0, world.frames]
        pictures.append(torch.stack([frames[0, middle], decoded[0, middle], held_out, image[0, 0]]).cpu())
    return GeometryFigures(pd.DataFrame(rows), pictures)


def scene_errors(
    output: Reconstruction, batch: WorldBatch, world: WorldConfig, render: Renderer
) -> tuple[dict[str, float], Float[Tensor, "1 views 3 height width"]]:
    """Errors of a reconstruction of the frames of one scene against its truth, and the rendered held-out views.

    Depth error is |z/z' - 1| after making the medians agree; rotation (degrees) the median over all pairs of views;
    translation the residual of the aligned trajectory relative to its extent. ``nvs_psnr``: the views that were not given,
    rendered from the predicted Gaussians at the true cameras relative to the first one, whose translations are multiplied by
    the median ratio of predicted to true depth (the network's own scale is free).
    """
    cameras, depth, _ = normalise_scene(batch.cameras, batch.depth, frames=world.frames)
    seen, true_depth = cameras[:, : world.frames], depth[:, : world.frames]
    unseen = cameras[:, world.frames :]
    pose = unseen.world_to_camera.clone()
    pose[..., :3, 3] *= (output.depth / true_depth).median()
    image = _render(output, Cameras(pose, unseen.intrinsics), render, world)
    errors = {
        "depth_absrel": depth_errors(output.depth.flatten(1, 2), true_depth.flatten(1, 2)).abs_rel.mean(),
        "rotation_deg": pair_errors(output.cameras, seen).rotation.median(),
        "translation_relative": trajectory_error(output.cameras, seen).mean(),
        "nvs_psnr": psnr(image, batch.rgb[:, world.frames :]).mean(),
    }
    return {name: float(value) for name, value in errors.items()}, image


def _render(
    output: Reconstruction, cameras: Cameras, render: Renderer, world: WorldConfig
) -> Float[Tensor, "1 views 3 height width"]:
    if output.gaussians is None:
        raise ValueError("novel views need a reconstruction network with a Gaussian head")
    return render(output.gaussians, cameras, (world.height, world.width)).rgb.clamp(0, 1)
