"""What a step of reward alignment draws: length and guidance of the rollout, steps that carry gradient, views that are scored."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vist3a.alignment.align_settings import AlignSettings, Variant


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


def draw_align_step(random: torch.Generator, settings: AlignSettings) -> AlignDraw:
    """Drawn from ``random`` alone. Ranges are uniform and include both ends; a number is itself and costs no draw."""
    steps, guidance = settings.denoising_steps, settings.guidance
    if isinstance(steps, tuple):
        steps = int(torch.randint(steps[0], steps[1] + 1, (), generator=random))
    if isinstance(guidance, tuple):
        low, high = guidance
        guidance = low + (high - low) * float(torch.rand((), generator=random, dtype=torch.float64))
    # The order of the draws is part of the seeded results: new ones go to the end.
    keep = kept_steps(settings.variant, steps, settings.gradient_steps, random)
    views = torch.randperm(settings.frames, generator=random)[: settings.scored_views].sort().values.tolist()
    decoded = views
    if settings.decoded_views is not None:
        decoded = torch.randperm(settings.frames, generator=random)[: settings.decoded_views].sort().values.tolist()
    return AlignDraw(steps, guidance, keep, views, decoded)


def kept_steps(variant: Variant, steps: int, gradient_steps: int, random: torch.Generator) -> list[int]:
    """The steps that carry gradient, each once; fewer where the rollout is too short for as many."""
    last = steps - 1
    if variant == "last":
        return [last]
    if variant == "all":
        return list(range(steps))
    if variant == "released":
        # The random ones are taken from the steps before the last, so that none comes twice.
        return [*torch.randperm(last, generator=random)[:gradient_steps].tolist(), last]
    chosen: list[int] = torch.randperm(steps, generator=random)[:gradient_steps].tolist()
    return chosen
