"""Draws of an alignment step: which denoising steps carry gradient, ranges, and that seed and step decide everything."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from vist3a.alignment.align_draw import AlignDraw, draw_align_step, kept_steps
from vist3a.alignment.align_settings import AlignSettings, Variant
from vist3a.runtime.loop import LoopConfig, step_generator
from vist3a.sampling.sampling import SamplingConfig

FIXED: dict[str, Any] = {
    "variant": "drtune",
    "denoising_steps": 6,
    "guidance": 3.0,
    "gradient_steps": 2,
    "frames": 5,
    "height": 16,
    "width": 16,
    "scored_views": 3,
    "seed": 0,
    "prompts_per_step": 1,
    "clips_per_step": 1,
    "generative_weight": 1.0,
    "loop": LoopConfig(1, 1e-3, ema=None),
}


def drawn(step: int, **changes: Any) -> AlignDraw:
    return draw_align_step(step_generator(4, step), AlignSettings(**FIXED | changes))


@pytest.mark.parametrize(("variant", "count", "always"), [("drtune", 2, set()), ("last", 1, {5}), ("released", 3, {5})])
def test_kept_steps(variant: Variant, count: int, always: set[int]) -> None:
    draws = [kept_steps(variant, 6, 2, step_generator(0, step)) for step in range(300)]
    assert all(len(set(keep)) == len(keep) == count and always <= set(keep) <= set(range(6)) for keep in draws)
    # Every other step is as likely as the next: 300 draws of up to 2 among 5 or 6, four standard deviations.
    seen = Counter(k for keep in draws for k in keep if k not in always)
    if variant != "last":
        chance = 2 / (6 - len(always))
        spread = 4 * (300 * chance * (1 - chance)) ** 0.5
        assert len(seen) == 6 - len(always)
        assert all(abs(times - 300 * chance) < spread for times in seen.values())


def test_a_short_rollout_keeps_what_there_is() -> None:
    assert kept_steps("released", 1, 3, step_generator(0, 0)) == [0]
    assert sorted(kept_steps("drtune", 2, 3, step_generator(0, 0))) == [0, 1]


def test_ranges_are_drawn_to_their_ends_and_numbers_cost_no_draw() -> None:
    draws = [drawn(step, denoising_steps=(2, 4), guidance=(4.0, 6.0)) for step in range(200)]
    assert {draw.steps for draw in draws} == {2, 3, 4}
    assert all(max(draw.keep) < draw.steps for draw in draws)
    guidances = [draw.guidance for draw in draws]
    assert 4.0 <= min(guidances) < 4.1
    assert 5.9 < max(guidances) <= 6.0
    assert {(draw.steps, draw.guidance) for draw in map(drawn, range(9))} == {(6, 3.0)}
    random = step_generator(4, 5)
    assert (
        drawn(5, guidance=(4.0, 7.0)).guidance == 4 + 3 * torch.rand((), generator=random, dtype=torch.float64).item()
    )
    # As before there were ranges: first the steps, then the views.
    random = step_generator(4, 7)
    keep = torch.randperm(6, generator=random)[:2].tolist()
    views = sorted(torch.randperm(5, generator=random)[:3].tolist())
    assert drawn(7) == AlignDraw(6, 3.0, keep, views, views)


def test_decoded_views_may_be_others_than_the_rendered_ones() -> None:
    """As released: all views rendered, one decoded, drawn anew each time."""
    draws = [drawn(step, scored_views=5, decoded_views=1) for step in range(60)]
    assert all(draw.views == [0, 1, 2, 3, 4] and len(draw.decoded) == 1 for draw in draws)
    assert {draw.decoded[0] for draw in draws} == {0, 1, 2, 3, 4}
    # What was drawn before stays.
    assert [(draw.steps, draw.keep) for draw in draws] == [
        (draw.steps, draw.keep) for draw in (drawn(step, scored_views=5) for step in range(60))
    ]


def test_seed_and_step_decide() -> None:
    ranges: dict[str, Any] = {"denoising_steps": (3, 40), "guidance": (4.0, 6.0), "variant": "released"}
    assert drawn(3, **ranges) == drawn(3, **ranges)
    assert drawn(3, **ranges) != drawn(4, **ranges)


def test_the_middle_stands_for_a_range() -> None:
    size = {"frames": 5, "height": 16, "width": 16}
    plain = AlignSettings(**FIXED).middle_sampling()
    assert plain == SamplingConfig(steps=6, guidance=3.0, **size)
    ranges = AlignSettings(**FIXED | {"denoising_steps": (10, 50), "guidance": (4.0, 6.0), "flow_shift": 2.0})
    assert ranges.middle_sampling() == SamplingConfig(steps=30, guidance=5.0, flow_shift=2.0, **size)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"denoising_steps": (9, 3)},
            r"align.denoising_steps: \(9, 3\); allowed: a whole number from 1 on, or a range",
        ),
        ({"denoising_steps": True}, "align.denoising_steps: True; allowed"),
        ({"guidance": 0.5}, "align.guidance: 0.5; allowed: a number from 1 on"),
        ({"variant": "released"}, "align.gradient_steps: 6 with variant released needs 7 denoising steps, and"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AlignSettings(**FIXED | {"gradient_steps": 6} | changes)
