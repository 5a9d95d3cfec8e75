"""Autoencoder and reconstruction network against the exact images, depth and cameras of unseen scenes."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.metrics.exact_scenes import rendered_views, scene_errors
from vist3a.metrics.image import psnr
from vist3a.networks.base import ReconstructionModel
from vist3a.rendering.base import Renderer
from vist3a.runtime.progress import progress
from vist3a_lab.procedural import WorldConfig, make_world


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
        row, image = scene_errors(output, batch.exact(world.frames), render)
        # At the predicted cameras: how well the Gaussians explain what the network has seen.
        given = rendered_views(output, output.cameras, render, (world.height, world.width))
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
