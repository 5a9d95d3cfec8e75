"""Training in few steps: what a step leaves on the parameters, that it goes on where it stopped, and that it helps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_alignment import PROMPTS
from tiny_generators import tiny
from tiny_networks import tiny_generator

from vist3a.adapters.lora import add_lora
from vist3a.generators.base import VideoGenerator
from vist3a.records import Condition
from vist3a.runtime.launch import ALONE, Processes
from vist3a.runtime.loop import LoopConfig, step_generator
from vist3a.sampling.rollout import prompt_noise, rollout
from vist3a.shortening import shorten as module
from vist3a.shortening.flow_map import draw_jumps, draw_lead, draw_lengths, few_step_levels
from vist3a.shortening.shorten import ShortenData, ShortenStep, schedule_shift, shorten
from vist3a.shortening.shorten_settings import ShortenSettings

LOOP = LoopConfig(steps=6, learning_rate=1e-2, warmup=1, ema=0.9, log_every=1, checkpoint_every=4)


def settings_of(**others: Any) -> ShortenSettings:
    fixed: dict[str, Any] = {
        "seed": 3, "frames": 5, "height": 16, "width": 16, "guidance": 3.0, "paths": 4, "uses": 2, "path_steps": 8, "loop": LOOP,
    }  # fmt: skip
    return ShortenSettings(**fixed | others)


def trainable(shaken: bool = False) -> VideoGenerator:
    generator = tiny_generator()
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
    generator.denoiser.double()
    generator.learn_lengths().length.requires_grad_(True)
    if shaken:
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in generator.denoiser.parameters():
                if parameter.requires_grad:
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
    return generator


def gradients(generator: VideoGenerator) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in generator.denoiser.named_parameters() if p.grad is not None}


def test_the_gradient_of_a_step_is_that_of_the_whole_error_in_one_graph() -> None:
    """Written out, path by path: Euler steps of the plain generator, from noise or from where the own jumps lead; the mean
    velocity from one state to another; its mean squared error.
    """
    settings, step = settings_of(), 4
    generator = trainable(shaken=True)
    loss, logged = ShortenStep(generator, ShortenData(PROMPTS, generator.embed), settings, ALONE)(step)
    found = gradients(generator)

    plain, whole = tiny_generator(), trainable(shaken=True)
    plain.denoiser.double()
    levels = few_step_levels(8, schedule_shift(plain.scheduler, 16)).tolist()
    empty = plain.embed([""])
    random = step_generator(3, -3)  # of the third block, as every two steps have their own
    lead = draw_lead(random, 8, (1, 2, 4, 8))
    assert lead is not None
    led = (torch.rand(4, generator=random) < 0.5).tolist()
    assert 0 < sum(led) < 4
    random = step_generator(3, step)
    starts, lengths = (drawn.tolist() for drawn in draw_jumps(random, 4, 8, (1, 2, 4, 8)))
    onward = draw_lengths(random, 4, 8, (1, 2, 4, 8), 8 - lead.states).tolist()
    error, drawn = torch.zeros((), dtype=torch.float64), []
    for row, place in enumerate(range(8, 12)):
        text = plain.embed([PROMPTS[place % 3]])
        state = prompt_noise(PROMPTS[place % 3], 3 + place, plain.latent_grid(5, 16, 16)).double()
        begun, first, many = (lead.states, lead.states, onward[row]) if led[row] else (0, starts[row], lengths[row])
        drawn.append(8 // many)
        with torch.no_grad():
            for k in range(0, begun, lead.length):
                way = levels[k] - levels[k + lead.length]
                with whole.stepping(torch.tensor(1000 * way)):
                    state = state - way * whole.prediction(state, torch.tensor([1000 * levels[k]]), text)
            states = {begun: state}
            for k in range(begun, 8):
                told = plain.guided(states[k], torch.tensor([1000 * levels[k]]), text, empty, 3.0)
                states[k + 1] = states[k] - (levels[k] - levels[k + 1]) * told
        way = levels[first] - levels[first + many]
        with whole.stepping(torch.tensor([1000 * way])):
            told = whole.prediction(states[first], torch.tensor([1000 * levels[first]]), text)
        error = error + (told - (states[first] - states[first + many]) / way).square().mean() / 4
    error.backward()
    assert float(loss) == pytest.approx(float(error.detach()), rel=1e-9)
    expected = gradients(whole)
    assert found.keys() == expected.keys()
    assert any("length" in name for name in found)
    for name, value in expected.items():
        assert float(value.norm()) > 0, name
        assert float((found[name] - value).norm()) <= 1e-6 * float(value.norm()), name
    assert {name for name in logged if name.startswith("error/")} == {f"error/{count}_steps" for count in drawn}


def test_paths_a_few_at_a_time_and_by_two_processes_are_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trainable(shaken=True)
    loss, _ = ShortenStep(whole, ShortenData(PROMPTS, whole.embed), settings_of(), ALONE)(1)
    few = trainable(shaken=True)
    at_once, _ = ShortenStep(few, ShortenData(PROMPTS, few.embed), settings_of(paths_at_once=1), ALONE)(1)
    assert float(at_once) == pytest.approx(float(loss), rel=1e-9)
    # What two processes would sum.
    monkeypatch.setattr(module, "sum_over", lambda processes, values: None)
    shared = trainable(shaken=True)
    parts = [
        ShortenStep(shared, ShortenData(PROMPTS, shared.embed), settings_of(), Processes(rank, 2))(1)[0]
        for rank in range(2)
    ]
    assert float(sum(parts)) == pytest.approx(float(loss), rel=1e-9)
    for name, value in gradients(whole).items():
        for other in (few, shared):
            assert float((gradients(other)[name] - value).norm()) <= 1e-9 * float(value.norm()), name


def test_paths_are_made_anew_when_they_were_used() -> None:
    generator = trainable()
    step = ShortenStep(generator, ShortenData(PROMPTS, generator.embed), settings_of(), ALONE)
    first, same, other = (step.block(number) for number in (0, 0, 1))
    assert first is same
    assert not torch.equal(first.parts[0][1].states, other.parts[0][1].states)
    again = step.block(0)
    assert all(torch.equal(one[1].states, two[1].states) for one, two in zip(first.parts, again.parts, strict=True))


@pytest.mark.parametrize(("share", "counts", "led"), [(0.0, (1, 2), 0), (1.0, (1, 2), 4), (1.0, (1,), 0)])
def test_the_share_of_paths_that_are_led_is_that_asked_for(share: float, counts: tuple[int, ...], led: int) -> None:
    generator = trainable()
    step = ShortenStep(
        generator, ShortenData(PROMPTS, generator.embed), settings_of(on_policy=share, counts=counts), ALONE
    )
    block = step.block(0)
    assert int(block.led.sum()) == led
    assert sorted(place for part in block.parts for place in part[0].tolist()) == [0, 1, 2, 3]
    assert all(len(paths.levels) == (5 if led else 9) for _, paths, _ in block.parts)


def test_a_training_that_was_cut_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def weights(generator: VideoGenerator) -> list[torch.Tensor]:
        return [p.detach().clone() for p in generator.denoiser.parameters() if p.requires_grad]

    whole, cut = trainable(), trainable()
    shorten(whole, ShortenData(PROMPTS, whole.embed), settings_of())

    class Killed(Exception):
        pass

    def kill(step: int, scalars: Any) -> None:
        if step == 5:  # in the middle of paths that are in use, behind the checkpoint of step 4
            raise Killed

    with pytest.raises(Killed):
        shorten(cut, ShortenData(PROMPTS, cut.embed), settings_of(), checkpoint=tmp_path / "loop.pt", log=kill)
    again, seen = trainable(), []
    shorten(
        again, ShortenData(PROMPTS, again.embed), settings_of(), checkpoint=tmp_path / "loop.pt",
        log=lambda step, scalars: seen.append(step),
    )  # fmt: skip
    assert seen == [5, 6]
    assert all(torch.equal(one, other) for one, other in zip(weights(whole), weights(again), strict=True))


@pytest.mark.parametrize("kind", ["wan", "hunyuan_video", "ltx"])
def test_few_steps_come_nearer_to_what_many_with_guidance_give(kind: str) -> None:
    """Of random networks, which are all but linear, so that a few steps of training are enough to see it."""
    from ltx_video import tiny_ltx

    generator = tiny_ltx() if kind == "ltx" else tiny(kind)
    size = 64 if kind == "ltx" else 32
    frames = generator.allowed_frames(9)
    shape, guidance = generator.latent_grid(frames, size, size), 6.0
    start = torch.cat([prompt_noise(p, 99, shape) for p in PROMPTS])
    condition, empty = generator.embed(PROMPTS), generator.embed([""]) if generator.uses_negative else None
    many = rollout(generator, start, condition, empty, steps=8, guidance=guidance).latents
    settings = settings_of(
        frames=frames, height=size, width=size, guidance=guidance, paths=6, counts=(1, 2),
        loop=replace(LOOP, steps=40, learning_rate=2e-2, ema=None, log_every=40),
    )  # fmt: skip
    add_lora(generator.denoiser, 4, 8.0, ["to_q", "to_k", "to_v", "to_out.0"], seed=0)

    def away(steps: int) -> float:
        told = 1.0 if generator.uses_negative else guidance
        found = rollout(generator, start, condition, None, steps=steps, guidance=told).latents
        return float((found - many).norm() / many.norm())

    before = away(2)
    shorten(generator, ShortenData(PROMPTS, generator.embed), settings)
    assert away(2) < 0.8 * before
    assert generator.only_guidance == (1.0 if generator.uses_negative else guidance)
    with pytest.raises(
        ValueError, match=r"guidance 2, but this generator was shortened with its guidance inside; allowed: "
    ):
        rollout(generator, start, condition, empty, steps=2, guidance=2.0)


def test_what_cannot_be_done_is_told_before_it_is_begun() -> None:
    generator = trainable()
    with pytest.raises(ValueError, match="at least one prompt"):
        shorten(generator, ShortenData([], generator.embed), settings_of())
    with pytest.raises(
        ValueError, match=r"shorten\.counts: \[1, 3\], but a path has shorten\.path_steps 8; allowed: numbers"
    ):
        settings_of(counts=(1, 3))
    with pytest.raises(
        ValueError, match=r"checkpoint_every: 4, in the middle of shorten\.uses 3 steps.*allowed: a multiple of it"
    ):
        settings_of(uses=3)
    settings_of(uses=3, on_policy=0.0)
    for kind in ("cogvideox", "svd"):
        other = tiny(kind)
        with pytest.raises(ValueError, match="cannot be shortened"):
            shorten(other, ShortenData(PROMPTS, lambda prompts: Condition({"text": torch.zeros(1)})), settings_of())
