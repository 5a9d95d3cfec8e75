"""Gaussians of one scene fitted to its own frames, as long as frames that are kept aside say that it helps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.export.pivot import pivot_depth
from vist3a.records import Gaussians, Reconstruction
from vist3a.rendering.base import Renderer
from vist3a.runtime.bounds import Count, Positive, PositiveFloat

Log = Callable[[int, dict[str, float]], None]
OPACITY_EPSILON = 1e-4


@dataclass(frozen=True)
class RefinementSettings:
    """How Gaussians are refined.

    Attributes:
        refine_steps: At most so many steps (0: Gaussians stay as the network gave them).
        refine_views: Frames of a step.
        refine_rate: Factor on all learning rates.
        refine_aside: Every so-manyth frame is kept aside to judge.
        refine_patience: Steps without an improvement after which it stops.
    """

    refine_steps: Count = 0
    refine_views: Positive = 3
    refine_rate: PositiveFloat = 1.0
    refine_aside: Annotated[int, Ge(2)] = 4
    refine_patience: Positive = 40


@dataclass(frozen=True)
class Refined:
    """Gaussians, steps that made them (0: they are the given ones), and PSNR in dB of the frames aside before and after.

    ``judged`` is False where nothing was tried, as no frame can be spared.
    """

    gaussians: Gaussians
    steps: int
    before: float
    after: float
    judged: bool = True


# Learning rates of Adam; means move in shares of the median depth.
RATES = {"means": 2e-4, "scales": 5e-3, "rotations": 2e-3, "opacities": 2e-2, "harmonics": 5e-3}
EVERY = 10
"""Steps between two judgments."""
LEAST_GAIN = 0.02
"""Decibels that the frames aside must gain, or the given Gaussians stay."""


def refine(
    gaussians: Gaussians,
    scene: Reconstruction,
    frames: Float[Tensor, "1 views 3 height width"],
    render: Renderer,
    settings: RefinementSettings,
    seed: int = 0,
    log: Log | None = None,
) -> Refined:
    """Fit a batch of one to the frames (RGB in [0, 1]) at the cameras of its scene.

    Frames aside take no part; the state that shows them best is returned, and the given one if none gains. A
    scene of fewer than three frames is left alone, as none of them can be spared.

    Example:
        >>> refined = refine(scene.gaussians, scene, frames, render, RefinementSettings(refine_steps=200))
        >>> refined.after >= refined.before
        True
    """
    given, views = gaussians.detach(), frames.shape[1]
    aside = torch.arange(settings.refine_aside // 2, views, settings.refine_aside)
    shown = torch.tensor([view for view in range(views) if view not in set(aside.tolist())])
    if settings.refine_steps == 0 or views < 3 or not len(aside):
        return Refined(given, 0, float("nan"), float("nan"), judged=False)
    before = best = _psnr(given, scene, frames, render, aside)
    state = {name: value.detach().clone().requires_grad_(True) for name, value in _unbounded(given).items()}
    depth = pivot_depth(scene.depth[0])
    rate = {name: settings.refine_rate * value * (depth if name == "means" else 1) for name, value in RATES.items()}
    optimizer = torch.optim.Adam([{"params": [state[name]], "lr": rate[name]} for name in state], eps=1e-15)
    kept, kept_at = given, 0
    generator = torch.Generator().manual_seed(seed)
    for step in range(1, settings.refine_steps + 1):
        chosen = shown[torch.randperm(len(shown), generator=generator)[: settings.refine_views]].to(frames.device)
        with torch.enable_grad():
            drawn = render(_bounded(state), scene.cameras[:, chosen].detach(), (frames.shape[-2], frames.shape[-1])).rgb
            loss = (drawn - frames[:, chosen]).square().mean()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
        if step % EVERY and step != settings.refine_steps:
            continue
        now = _bounded(state).detach()
        score = _psnr(now, scene, frames, render, aside)
        if log is not None:
            log(step, {"loss": float(loss.detach()), "aside_db": score})
        if score > best:
            best, kept, kept_at = score, now, step
        elif step - kept_at >= settings.refine_patience:
            break
    if best < before + LEAST_GAIN:
        return Refined(given, 0, before, before)
    return Refined(kept, kept_at, before, best)


def _unbounded(gaussians: Gaussians) -> dict[str, Tensor]:
    """What is optimized: logarithms of scales, logits of opacities."""
    return {
        "means": gaussians.means,
        "scales": gaussians.scales.clamp(min=1e-9).log(),
        "rotations": gaussians.rotations,
        "opacities": torch.logit(gaussians.opacities, eps=OPACITY_EPSILON),
        "harmonics": gaussians.harmonics,
    }


def _bounded(state: dict[str, Tensor]) -> Gaussians:
    return Gaussians(
        means=state["means"],
        scales=state["scales"].exp(),
        rotations=torch.nn.functional.normalize(state["rotations"], dim=-1),
        opacities=state["opacities"].sigmoid(),
        harmonics=state["harmonics"],
    )


@torch.no_grad()
def _psnr(
    gaussians: Gaussians,
    scene: Reconstruction,
    frames: Float[Tensor, "1 views 3 height width"],
    render: Renderer,
    views: Int[Tensor, " some"],
) -> float:
    """Mean over views, in dB."""
    chosen = views.to(frames.device)
    drawn = render(gaussians, scene.cameras[:, chosen], (frames.shape[-2], frames.shape[-1])).rgb.clamp(0, 1)
    error = (drawn - frames[:, chosen]).square().mean((2, 3, 4)).clamp(min=1e-10)
    return float(-10 * torch.log10(error).mean())
