"""What is done to a network's Gaussians before they are written, where it is asked for, and what they look like off the path."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vist3a.generation.refinement import RefinementSettings, refine
from vist3a.metrics.off_path import off_path, without_disagreement
from vist3a.records import Gaussians, Reconstruction
from vist3a.rendering.base import Renderer


@dataclass(frozen=True)
class ImprovementSettings(RefinementSettings):
    """What is done to Gaussians.

    Attributes:
        filter: Leave out Gaussians that the views of their scene see through, or whose color they do not have, where the scene
            gets better by it (see :mod:`vist3a.metrics.off_path`).
        off_path: Say how good the scene is off the path; takes as long as rendering all of its views twice.
    """

    filter: bool = False
    off_path: bool = True


def improve(
    gaussians: Gaussians,
    scene: Reconstruction,
    frames: Float[Tensor, "1 views 3 height width"],
    render: Renderer,
    settings: ImprovementSettings,
) -> tuple[Gaussians, dict[str, float]]:
    """A batch of one, filtered and refined as asked; and figures of what was done, in dB.

    Example:
        >>> better, figures = improve(scene.gaussians, scene, frames, render, ImprovementSettings(filter=True))
    """
    figures: dict[str, float] = {}
    if settings.filter:
        gaussians = without_disagreement(gaussians, scene, frames, render)
    if settings.refine_steps:
        refined = refine(gaussians, scene, frames, render, settings)
        gaussians = refined.gaussians
        if refined.judged:
            figures |= {"refine_aside_before_db": refined.before, "refine_aside_db": refined.after}
    if settings.off_path:
        figures["off_path_db"] = off_path(gaussians, scene, frames, render).decibels
    return gaussians, figures
