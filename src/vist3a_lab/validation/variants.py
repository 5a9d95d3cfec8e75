"""Several ways to reconstruct the same scenes, compared with the truth and with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
import torch
from torch import Tensor

from vist3a.metrics.aggregate import bootstrap_interval
from vist3a.records import Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.runtime.progress import progress
from vist3a_lab.procedural import WorldConfig, make_world
from vist3a_lab.validation.geometry import scene_errors


@torch.no_grad()
def compare_with_truth(
    variants: Mapping[str, Callable[[Tensor], Reconstruction]],
    world: WorldConfig,
    scenes: int,
    render: Renderer,
    device: torch.device,
) -> dict[str, dict[str, dict[str, float]]]:
    """Per variant and error (see ``scene_errors``): mean with its 95 % bootstrap interval over scenes, and median.

    A variant maps frames [1, views, 3, height, width] in [0, 1] to a reconstruction with Gaussians.
    """
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for index in progress(range(scenes), "compare with the truth", scenes):
        batch = make_world(world, [index], device=device)
        for name, reconstruct in variants.items():
            rows[name].append(scene_errors(reconstruct(batch.rgb[:, : world.frames]), batch, world, render)[0])
    return {name: _summary(pd.DataFrame(found), world.seed) for name, found in rows.items()}


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
