"""What a step of reward alignment draws: length and guidance of the rollout, steps that carry gradient, views that are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Variant = Literal["drtune", "last", "released"]
"""Denoising steps that carry gradient: K at random (VIST3A algorithm 1, after DRTune), the last one alone, or K at random and the
last one (the code that VIST3A's authors released)."""


@dataclass(frozen=True)
class AlignDraw:
    """One rollout; ``keep`` are the steps that carry gradient, ``views`` the scored ones, in order.

    ``decoded`` are the views that are scored as frames of the video decoder; the same, unless fewer were asked for.
    """

    steps: int
    guidance: float
    keep: list[int]
    views: list[int]
    decoded: list[int]


def draw_align_step(
    random: torch.Generator,
    *,
    variant: Variant,
    denoising_steps: int | tuple[int, int],
    guidance: float | tuple[float, float],
    gradient_steps: int,
    frames: int,
    scored_views: int,
    decoded_views: int | None = None,
) -> AlignDraw:
    """Drawn from ``random`` alone. Ranges are uniform and include both ends; a number is itself and costs no draw."""
    steps = denoising_steps
    if isinstance(steps, tuple):
        steps = int(torch.randint(steps[0], steps[1] + 1, (), generator=random))
    if isinstance(guidance, tuple):
        low, high = guidance
        guidance = low + (high - low) * float(torch.rand((), generator=random, dtype=torch.float64))
    keep = kept_steps(variant, steps, gradient_steps, random)
    views = torch.randperm(frames, generator=random)[:scored_views].sort().values.tolist()
    decoded = views
    if decoded_views is not None:
        decoded = torch.randperm(frames, generator=random)[:decoded_views].sort().values.tolist()
    return AlignDraw(steps, guidance, keep, views, decoded)


def kept_steps(variant: Variant, steps: int, gradient_steps: int, random: torch.Generator) -> list[int]:
    """The steps that carry gradient, each once; fewer where the rollout is too short for as many."""
    last = steps - 1
    if variant == "last":
        return [last]
    if variant == "released":
        return [*torch.randperm(last, generator=random)[:gradient_steps].tolist(), last]
    chosen: list[int] = torch.randperm(steps, generator=random)[:gradient_steps].tolist()
    return chosen


def middle_steps(denoising_steps: int | tuple[int, int]) -> int:
    """A number of steps that stands for all."""
    return denoising_steps if isinstance(denoising_steps, int) else sum(denoising_steps) // 2


def middle_guidance(guidance: float | tuple[float, float]) -> float:
    """A guidance that stands for all."""
    return sum(guidance) / 2 if isinstance(guidance, tuple) else guidance
