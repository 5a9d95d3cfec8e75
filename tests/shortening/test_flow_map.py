"""Paths, jumps and their error, on Gaussians whose flow map is known in closed form."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from gaussian_flow import GaussianGenerator, moved, noise, text
from tiny_generators import tiny
from tiny_networks import tiny_generator

from vist3a.adapters.lora import add_lora
from vist3a.sampling.rollout import rollout
from vist3a.shortening.flow_map import (
    Lead,
    Paths,
    draw_jumps,
    draw_lead,
    draw_lengths,
    few_step_levels,
    flow_levels,
    flow_map_error,
    jumps,
    led_states,
    original_paths,
)
from vist3a.shortening.shorten import flow_map_scheduler, schedule_shift


def euler(shift: float = 3.0) -> GaussianGenerator:
    return GaussianGenerator(flow_map_scheduler(shift))


def paths_of(count: int, steps: int) -> Paths:
    levels = few_step_levels(steps, 3.0)
    return original_paths(euler(), noise(count), text(count), None, levels=levels, guidance=1.0)


def test_paths_follow_the_exact_flow_as_steps_become_many() -> None:
    """Euler's error is of first order: half as large with twice as many steps, at every state."""
    errors = []
    for steps in (400, 800):
        paths = paths_of(3, steps)
        levels = paths.levels.view(1, -1, 1, 1, 1, 1)
        exact = moved(noise(3)[:, None], torch.ones(()).double(), levels)
        errors.append(float((paths.states - exact).abs().max()))
        assert torch.equal(paths.states[:, 0], noise(3))
    assert errors[0] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)


def test_a_jump_is_the_mean_velocity_between_two_states() -> None:
    paths = paths_of(3, 12)
    starts, lengths = torch.tensor([0, 3, 11]), torch.tensor([12, 6, 1])
    found, levels = jumps(paths, starts, lengths), paths.levels
    for row, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        way = levels[start] - levels[start + length]
        torch.testing.assert_close(found.length[row], way)
        torch.testing.assert_close(found.level[row], levels[start])
        assert torch.equal(found.start[row], paths.states[row, start])
        arrived = found.start[row] - way * found.velocity[row]
        torch.testing.assert_close(arrived, paths.states[row, start + length], rtol=1e-12, atol=1e-12)


def test_a_jump_of_one_step_is_what_the_sampler_did() -> None:
    one = jumps(paths_of(2, 6), torch.tensor([2, 5]), torch.tensor([1, 1]))
    told = euler().prediction(one.start, 1000 * one.level, text(2))
    # Timesteps are told in float32.
    torch.testing.assert_close(one.velocity, told, rtol=1e-6, atol=1e-6)


def test_the_exact_flow_map_has_no_error_and_the_velocity_alone_has() -> None:
    some = jumps(paths_of(4, 1600), torch.tensor([0, 100, 800, 1500]), torch.tensor([1600, 800, 400, 100]))
    knows = GaussianGenerator(flow_map_scheduler(3.0), knows_lengths=True)
    exact, plain = flow_map_error(knows, some, text(4), 1.0), flow_map_error(euler(), some, text(4), 1.0)
    assert exact.shape == (4,)
    assert float(exact.max()) < 1e-4
    assert bool((plain > 50 * exact).all())
    assert float(plain[0]) > 0.05


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_exact_flow_map_arrives_in_any_number_of_steps(count: int) -> None:
    """The rollout tells every step its true length, in timesteps, and the scheduler goes as far."""
    knows = GaussianGenerator(flow_map_scheduler(3.0), knows_lengths=True)
    found = rollout(knows, noise(2), text(2), None, steps=count, guidance=1.0).latents
    ends = torch.ones(()).double(), torch.zeros(()).double()
    # Timesteps are told in float32.
    torch.testing.assert_close(found, moved(noise(2), *ends), rtol=1e-5, atol=1e-5)


def test_jumps_have_the_lengths_of_the_wanted_counts_and_stay_on_the_path() -> None:
    starts, lengths = draw_jumps(torch.Generator().manual_seed(0), 5000, 24, (1, 2, 4, 8))
    assert int(starts.min()) == 0
    assert int((starts + lengths).max()) == 24
    seen = Counter(lengths.tolist())
    assert seen.keys() == {24, 12, 6, 3, 1}
    assert all(900 < number < 1100 for number in seen.values())
    # Each starts anywhere that it can.
    for length in (12, 6, 3, 1):
        places = Counter(starts[lengths == length].tolist())
        assert places.keys() == set(range(25 - length))
    assert set(starts[lengths == 24].tolist()) == {0}


@pytest.mark.parametrize("length", [12, 6, 3])
def test_the_lead_of_an_exact_flow_map_stays_on_the_path(length: int) -> None:
    """What the rollout of few steps meets, and the original goes on from there to where it goes from noise."""
    knows, levels = GaussianGenerator(flow_map_scheduler(3.0), knows_lengths=True), few_step_levels(24, 3.0)
    lead = Lead(length, 24 // length - 1)
    found = led_states(knows, noise(2), text(2), levels=levels, lead=lead, guidance=1.0)
    ends = torch.ones(()).double(), levels[24 - length]
    torch.testing.assert_close(found, moved(noise(2), *ends), rtol=1e-5, atol=1e-5)
    met = rollout(knows, noise(2), text(2), None, steps=24 // length, guidance=1.0, keep=[lead.jumps])
    torch.testing.assert_close(found, met.inputs[lead.jumps])
    onward = original_paths(euler(), found, text(2), None, levels=levels[lead.states :], guidance=1.0)
    assert onward.states.shape[1] == length + 1
    assert torch.equal(onward.states[:, 0], found)
    exact = moved(noise(2), torch.ones(()).double(), torch.zeros(()).double())
    assert float((onward.states[:, -1] - exact).abs().max()) < 0.3


def test_leads_end_at_every_state_of_few_steps_between_noise_and_data() -> None:
    random = torch.Generator().manual_seed(0)
    seen = Counter(draw_lead(random, 24, (1, 2, 4)) for _ in range(4000))
    halves, quarters = seen[Lead(12, 1)], [seen[Lead(6, jumps)] for jumps in (1, 2, 3)]
    assert seen.total() == halves + sum(quarters)
    assert halves == pytest.approx(2000, abs=150)
    assert quarters == pytest.approx([667] * 3, abs=100)
    assert draw_lead(random, 24, (1,)) is None


def test_a_jump_from_where_a_lead_ended_does_not_go_beyond_the_end() -> None:
    lengths = draw_lengths(torch.Generator().manual_seed(0), 3000, 24, (1, 2, 4, 8), left=6)
    seen = Counter(lengths.tolist())
    assert seen.keys() == {6, 3, 1}
    assert all(900 < number < 1100 for number in seen.values())


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_levels_are_those_that_few_steps_are_sampled_at(shift: float) -> None:
    levels = few_step_levels(24, shift)
    for count in (1, 2, 4, 8, 24):
        sampled = flow_levels(euler(shift), count, (2, 1, 3, 3))
        torch.testing.assert_close(levels[:: 24 // count], sampled, rtol=1e-6, atol=1e-6)


def test_paths_are_the_original_generators_whatever_was_learned() -> None:
    generator = tiny_generator(0, "euler")
    generator.scheduler = flow_map_scheduler(3.0)
    shape = generator.latent_grid(5, 16, 16)
    start = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1)).double()
    condition, empty = generator.embed(["a red ball", "the floor"]), generator.embed([""])
    plain = rollout(generator, start, condition, empty, steps=6, guidance=3.0)
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
    embedding = generator.learn_lengths()
    with torch.no_grad():
        for parameter in (
            *embedding.length.parameters(),
            *(p for n, p in generator.denoiser.named_parameters() if "lora" in n),
        ):
            parameter.normal_(std=0.3)
    trained = {name for name, p in generator.denoiser.named_parameters() if p.requires_grad}
    levels = few_step_levels(6, 3.0)
    paths = original_paths(generator, start, condition, empty, levels=levels, guidance=3.0)
    torch.testing.assert_close(paths.states[:, -1], plain.latents)
    # The same network, as it is now, goes elsewhere; and what is trained is trained again.
    now = rollout(generator, start, condition, empty, steps=6, guidance=3.0).latents
    assert float((now - plain.latents).abs().max()) > 1e-3
    assert {name for name, p in generator.denoiser.named_parameters() if p.requires_grad} == trained != set()


@pytest.mark.parametrize("kind", ["cogvideox", "svd"])
def test_samplers_that_follow_no_flow_are_refused(kind: str) -> None:
    generator = tiny(kind)
    with pytest.raises(
        ValueError, match=r"follows no flow from noise \(level 1\) to data \(0\); allowed: schedulers of flow"
    ):
        flow_levels(generator, 4, generator.latent_grid(5, 64, 64))
    with pytest.raises(ValueError, match=r"cannot be shortened: it says no TIME_EMBEDDER.*allowed: wan, hunyuan_video"):
        generator.learn_lengths()


@pytest.mark.parametrize("kind", ["wan", "hunyuan_video", "ltx"])
def test_the_levels_of_few_steps_have_the_shift_of_the_generators_own(kind: str) -> None:
    """The scheduler's own levels, at the same places before the shift."""
    from ltx_video import tiny_ltx

    generator = tiny_ltx() if kind == "ltx" else tiny(kind)
    scheduler, tokens = generator.scheduler, 24
    shift = schedule_shift(scheduler, tokens)
    if kind == "ltx":
        # Without the stretch to a last level of its own, which is no shift.
        scheduler = type(scheduler).from_config(scheduler.config, shift_terminal=None)
        mu = 0.95 + (2.05 - 0.95) / (64 - 8) * (tokens - 8)
        scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], mu=mu)
    elif kind == "wan":
        # UniPC takes no levels; those of FlowMatchEuler with the same number are.
        assert shift == scheduler.config.flow_shift
        return
    else:
        scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    ours = flow_map_scheduler(shift)
    ours.set_timesteps(4)
    torch.testing.assert_close(ours.sigmas.float(), scheduler.sigmas.float())
