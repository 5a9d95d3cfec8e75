"""Borders of settings, order of draws, looks and previews; latents of clips, films that are measured, chosen views."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_alignment import PROMPTS, decoder
from tiny_networks import tiny_generator, tiny_network
from torch import nn
from wide_cases import WIDE, wide_clips, wide_decoder

from vist3a.alignment.align import AlignData, AlignStep
from vist3a.alignment.align_draw import draw_align_step, kept_steps
from vist3a.alignment.align_settings import AlignSettings, check_range
from vist3a.alignment.clip_latents import ClipLatents
from vist3a.alignment.decoded_views import decode_views
from vist3a.alignment.drift import DriftAlarm
from vist3a.alignment.film_looks import FilmLooks, MotionBar
from vist3a.alignment.film_measures import film_measures
from vist3a.alignment.rewards.terms import weighted_terms
from vist3a.alignment.term_gradients import term_gradient_norms
from vist3a.alignment.watch import PREVIEW_VIEWS, preview
from vist3a.metrics.video import film_motion, film_rows
from vist3a.records import Clip
from vist3a.rendering.cpu import CpuRenderer
from vist3a.runtime.launch import ALONE
from vist3a.runtime.loop import LoopConfig, step_generator
from vist3a.sampling.rollout import prompt_noise, rollout, step_generators

CPU = torch.device("cpu")


def settings(**changes: Any) -> AlignSettings:
    given: dict[str, Any] = {
        "seed": 0, "prompts_per_step": 1, "clips_per_step": 1, "denoising_steps": 6, "gradient_steps": 2, "guidance": 3.0,
        "frames": 7, "height": 16, "width": 32, "scored_views": 3, "generative_weight": 1.0, "loop": LoopConfig(1, 0.0, ema=None),
    }  # fmt: skip
    return AlignSettings(**given | changes)


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"denoising_steps": 2, "gradient_steps": 2}, None),
        ({"denoising_steps": 1, "gradient_steps": 2}, 2),
        ({"denoising_steps": (2, 9), "gradient_steps": 2}, None),
        ({"denoising_steps": (2, 9), "gradient_steps": 3}, 3),
        ({"denoising_steps": 3, "gradient_steps": 2, "variant": "released"}, None),
        ({"denoising_steps": 2, "gradient_steps": 2, "variant": "released"}, 3),
        ({"denoising_steps": 1, "gradient_steps": 9, "variant": "last"}, None),
    ],
)
def test_the_shortest_rollout_must_hold_the_steps_with_gradient(changes: dict[str, Any], needed: int | None) -> None:
    if needed is None:
        settings(**changes)
        return
    with pytest.raises(
        ValueError, match=rf"needs {needed} denoising steps, and align\.denoising_steps gives [12]; allowed"
    ):
        settings(**changes)


@pytest.mark.parametrize("name", ["denoising_steps", "guidance"])
def test_ranges_hold_two_numbers_from_one_on(name: Any) -> None:
    for good in (1, (1, 1), [2, 5], (3, 3)):
        check_range(name, good)
    wrong = (0, (0, 3), (4, 3), (1,), (1, 2, 3), (), True, (1, True), math.inf, (1, math.nan), "3", None)
    for value in wrong + ((0.999, 1.0) if name == "guidance" else (1.5, (1, 2.5))):
        if name == "guidance" and value == 1.0:
            continue
        with pytest.raises(ValueError, match=rf"align\.{name}: .*; allowed: a"):
            check_range(name, value)
    if name == "guidance":
        check_range(name, (1.0, 7.5))


def test_the_middle_of_ranges_is_rounded_down() -> None:
    found = settings(denoising_steps=(4, 9), guidance=(2.0, 5.0), flow_shift=3.0).middle_sampling()
    assert (found.steps, found.guidance, found.flow_shift) == (6, 3.5, 3.0)
    assert (found.frames, found.height, found.width) == (7, 16, 32)


def test_the_order_of_draws_is_part_of_the_results() -> None:
    """Steps, guidance, kept steps, views, decoded views; each by hand from the same generator."""
    given = settings(denoising_steps=(4, 9), guidance=(2.0, 5.0), decoded_views=2, variant="released")
    for step in range(5):
        random = step_generator(0, step)
        steps = int(torch.randint(4, 10, (), generator=random))
        guidance = 2 + 3 * float(torch.rand((), generator=random, dtype=torch.float64))
        keep = [*torch.randperm(steps - 1, generator=random)[:2].tolist(), steps - 1]
        views = sorted(torch.randperm(7, generator=random)[:3].tolist())
        decoded = sorted(torch.randperm(7, generator=random)[:2].tolist())
        found = draw_align_step(step_generator(0, step), given)
        assert (found.steps, found.guidance, found.keep, found.views, found.decoded) == (
            steps,
            guidance,
            keep,
            views,
            decoded,
        )
    assert kept_steps("last", 5, 3, step_generator(0, 0)) == [4]


def test_an_alarm_needs_its_whole_window_and_both_trends() -> None:
    def series(reward: list[float], judge: list[float]) -> dict[int, tuple[float, float]]:
        return {10 * i: pair for i, pair in enumerate(zip(reward, judge, strict=True))}

    rising, falling = [0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0]
    # Four in order come about by chance in one case of 24, under a twentieth; three in one of six.
    assert DriftAlarm(4)(series(rising, falling)) and not DriftAlarm(5)(series(rising, falling))
    assert not DriftAlarm(3)(series(rising[:3], falling[:3]))
    assert not DriftAlarm(4)(series(rising, rising)) and not DriftAlarm(4)(series(falling, falling))
    # The last ones count, whatever came before.
    assert DriftAlarm(4)(series([9.0, 8.0, *rising], [0.0, 1.0, *falling]))
    assert not DriftAlarm(4)(series([*rising, 0.0], [*falling, 3.0]))


def looks(path: Path, motions: list[float], parameter: nn.Parameter, every: int, last: int) -> FilmLooks:
    told = iter(motions)
    return FilmLooks(lambda _: {"motion": next(told)}, lambda: 2.0, 0.25, every, last, {"p": parameter}, path)


def test_films_are_due_at_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    watching = looks(tmp_path / "films.pt", [1.0] * 9, nn.Parameter(torch.zeros(2)), every=3, last=7)
    assert [step for step in range(9) if watching.due(step)] == [0, 3, 6, 7]
    assert watching.scalars(5) == {}
    watching.look(3, [])
    assert not watching.due(3) and watching.scalars(2) == {} and watching.scalars(3) == {"watch/motion": 1.0}
    with pytest.raises(ValueError, match="no adapter is chosen before the last look"):
        watching.report()
    bar = MotionBar(0.25, 2.0)
    assert bar.least == 0.5 and str(bar) == "0.5 (0.25 of the 2 of curated clips)"
    watching.look(7, [])
    assert watching.report()["motion"] == {
        "kept": 1.0,
        "last": 1.0,
        "clips": 2.0,
        "bar": 0.5,
        "by_step": {"3": 1.0, "7": 1.0},
    }


def test_steps_of_a_report_are_in_order_whatever_was_looked_at_first(tmp_path: Path) -> None:
    """A run that went back to its checkpoint looks at an earlier step after a later one."""
    watching = looks(tmp_path / "films.pt", [1.0, 0.9, 0.8], nn.Parameter(torch.zeros(2)), every=1, last=4)
    for step in (3, 1, 4):
        watching.look(step, [])
    assert list(watching.report()["motion"]["by_step"]) == ["1", "3", "4"]
    # What is kept is a copy, which holds no graph.
    assert not any(value.requires_grad for value in watching._kept.values())


def test_previews_spread_over_all_views_of_any_number() -> None:
    """Four of each kind and scene, the first and the last among them, row by row."""
    for count, chosen in (
        (4, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6]),
        (13, [0, 4, 8, 12]),
        (2, [0, 0, 1, 1]),
        (5, [0, 1, 3, 4]),
    ):
        value = torch.arange(count).float() / 20
        scene = torch.stack([value, value + 0.3])[..., None, None, None].expand(2, count, 3, 6, 8)
        sheet = preview([scene, scene[:1]])
        assert sheet.shape == (3 * 8 - 2, 4 * 10 - 2, 3) and PREVIEW_VIEWS == 4
        for row, offset in enumerate((0.0, 0.3, 0.0)):
            found = sheet[8 * row + 3, 3 : 4 * 10 : 10, 0]
            np.testing.assert_allclose(found, [255 * (i / 20 + offset) for i in chosen], atol=0.51)


def clips_of_all_lengths() -> list[Clip]:
    return [replace(wide_clips(1, n, seed=n)[0], name=f"c{n}", caption=PROMPTS[0]) for n in (5, 9, 5, 13)]


def test_latents_of_clips_are_encoded_once_by_clip_and_length(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, clips = tiny_generator(), clips_of_all_lengths()
    known = ClipLatents(generator, clips)
    encoded: list[tuple[int, ...]] = []
    encode = type(generator).encode

    def counting(self: object, frames: torch.Tensor, *rest: object) -> torch.Tensor:
        encoded.append(tuple(frames.shape[:2]))
        return encode(self, frames, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(generator), "encode", counting)
    first = known([1, 0, 1], 5, CPU)
    assert encoded == [(1, 5), (1, 5)]
    for row, index in enumerate((1, 0, 1)):
        alone = generator.normalise(encode(generator, clips[index].frames[None, :5]))
        torch.testing.assert_close(first[row : row + 1], alone)
    known([1], 9, CPU)
    known([1, 0], 5, CPU)
    assert encoded == [(1, 5), (1, 5), (1, 9)]


def test_films_are_measured_by_means_and_clips_by_those_that_are_long_enough() -> None:
    generator, network, render = tiny_generator(), tiny_network(seed=2), CpuRenderer()
    asked: list[int] = []

    def original() -> Any:
        asked.append(1)
        return network

    clips = clips_of_all_lengths()
    measure, clips_motion = film_measures(generator, original, render, clips, 9, 1)
    assert not asked
    latents = [torch.randn(1, 4, 3, 2, 4, generator=torch.Generator().manual_seed(i)).double() for i in range(2)]
    found = measure(latents)
    rows = film_rows(network, render, [generator.decode(raw)[0] for raw in latents])
    assert found == pytest.approx({name: sum(values) / 2 for name, values in rows.items()}) and "motion" in found
    # The first clip that has nine frames or more, cut to them.
    assert clips_motion() == pytest.approx(float(film_motion(network, clips[1].frames[None])))
    _, both = film_measures(generator, original, render, clips, 9, 5)
    second = float(film_motion(network, clips[3].frames[None, :9]))
    assert both() == pytest.approx((clips_motion() + second) / 2) and asked == [1, 1]
    with pytest.raises(ValueError, match="no curated clip has the 14 frames of the films"):
        film_measures(generator, original, render, clips, 14, 5)
    film_measures(generator, original, render, clips, 13, 5)


def test_decoded_and_rendered_views_are_those_asked_for() -> None:
    torch.manual_seed(0)
    generator, network, render = tiny_generator(), tiny_network(), CpuRenderer()
    stitched = decoder(network)
    normalised = torch.randn(2, 4, 2, 2, 2, generator=torch.Generator().manual_seed(4)).double()
    views, scene = decode_views(
        generator,
        stitched,
        render,
        normalised,
        PROMPTS[:2],
        torch.tensor([4, 1]),
        decoded_indices=torch.tensor([0, 3]),
    )
    raw = generator.denormalise(normalised)
    frames = network.fit(generator.decode(raw))
    whole = stitched(raw, (16, 16), rgb=frames)
    assert whole.gaussians is not None and views.scene is scene and views.prompts == tuple(PROMPTS[:2])
    torch.testing.assert_close(views.images("decoded"), frames[:, [0, 3]])
    rendered = render(whole.gaussians, whole.cameras, (16, 16)).rgb.clamp(0, 1)
    torch.testing.assert_close(views.images("rendered"), rendered[:, [4, 1]])
    for needs, gaussians in ((("gaussians",), True), (("scene",), False), (("decoded",), False)):
        only, found = decode_views(generator, stitched, render, normalised, PROMPTS[:2], torch.tensor([0]), needs)  # type: ignore[arg-type]
        assert only.rendered is None and (found.gaussians is not None) == gaussians
        torch.testing.assert_close(found.depth, whole.depth)


def test_wide_latents_are_decoded_at_the_size_of_their_grid() -> None:
    generator, stitched = tiny_generator(), wide_decoder().requires_grad_(False)
    raw = generator.encode(wide_clips(1)[0].frames[None])
    views, scene = decode_views(
        generator, stitched, CpuRenderer(), generator.normalise(raw), PROMPTS[:1], torch.tensor([0, 3]), ("rendered",)
    )
    assert views.images("rendered").shape == (1, 2, 3, *WIDE) and scene.depth.shape == (1, 5, *WIDE)
    expected = stitched(raw, WIDE, rgb=stitched.network.fit(generator.decode(raw)))
    torch.testing.assert_close(scene.depth, expected.depth)


def test_a_share_of_a_step_counts_as_the_share_that_it_is() -> None:
    """One prompt of four: a quarter of the gradient and of the logged terms, a sixteenth of squared norms."""
    torch.manual_seed(0)
    generator, stitched = tiny_generator(), decoder(tiny_network())
    generator.denoiser.requires_grad_(True)
    terms = {"consistency_l1": 1.0, "camera_smoothness": 0.5}
    latents = torch.randn(1, 4, 2, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    found = []
    for count in (1, 4):
        given = settings(prompts_per_step=count, frames=5, width=16)
        data = AlignData(PROMPTS, clips_of_all_lengths(), generator.embed)
        step = AlignStep(generator, stitched, weighted_terms(terms, {}, None), data, given, ALONE)
        drawn = draw_align_step(step_generator(0, 0), given)
        found.append(step.reward_gradient(latents, PROMPTS[:1], drawn, True))
    (gradient, logged, squares), (quarter, own, shares) = found
    torch.testing.assert_close(quarter, gradient / 4)
    assert logged.keys() == own.keys() == {"reward/consistency_l1", "reward/camera_smoothness", "reward/total"}
    for name, value in logged.items():
        torch.testing.assert_close(own[name], value / 4)
    assert squares.keys() == shares.keys() >= {"reward_gradient/consistency_l1", "reward_gradient_norm"}
    for name, value in squares.items():
        torch.testing.assert_close(shares[name], value / 16)
    torch.testing.assert_close(squares["reward_gradient_norm"], gradient.square().sum())
    assert not any(value.requires_grad for value in (gradient, *logged.values(), *squares.values()))


def test_terms_that_share_no_latents_pull_by_nothing() -> None:
    latents, other = (torch.rand(2, 1, 1, 2, 2, dtype=torch.float64).requires_grad_() for _ in range(2))
    parts = {"own": 3 * latents.flatten(1).sum(1), "elsewhere": other.flatten(1).sum(1)}
    norms = term_gradient_norms({"own": 2.0, "elsewhere": 1.0}, parts, latents)
    assert float(norms["own"]) == pytest.approx(3 * 8**0.5) and float(norms["elsewhere"]) == 0


def test_a_rollout_is_its_sampler_step_by_step() -> None:
    """Of two prompts, with guidance and a shift of its own; inputs are kept of the steps that are asked for, and no others."""
    generator = tiny_generator(scheduler="euler")
    condition, negative = generator.embed(PROMPTS[:2]), generator.embed([""])
    noise = torch.cat([prompt_noise(prompt, 3, (4, 2, 2, 2)) for prompt in PROMPTS[:2]]).double()
    ticks: list[int] = []
    path = rollout(
        generator, noise, condition, negative, steps=4, guidance=2.5, keep=(3, 1), flow_shift=4.0,
        generators=step_generators(PROMPTS[:2], [3, 3]), after_step=lambda: ticks.append(1),
    )  # fmt: skip
    sampler = generator.sampler(4, (4, 2, 2, 2), CPU, 4.0)
    z, seen = sampler.start(noise), {}
    with torch.no_grad():
        for k in range(4):
            seen[k] = z
            given = sampler.model_input(z, k)
            both = generator.guided(given, sampler.timesteps[k].float().expand(2), condition, negative, 2.5)
            z = sampler.step(both, k, z, None)
    torch.testing.assert_close(path.latents, z, rtol=1e-5, atol=1e-6)
    assert sorted(path.inputs) == [1, 3] and len(ticks) == 4
    for k, kept in path.inputs.items():
        torch.testing.assert_close(kept, seen[k], rtol=1e-5, atol=1e-6)
    assert torch.equal(path.timesteps, sampler.timesteps.float()) and path.timesteps.dtype == torch.float32
    assert path.coefficients.shape == (4,) and not path.latents.requires_grad
    plain = rollout(generator, noise, condition, negative, steps=4, guidance=2.5)
    assert not plain.inputs and not torch.allclose(plain.latents, path.latents)
