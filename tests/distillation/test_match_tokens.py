"""The first round of distillation: exact targets, nothing behind the point is touched, the distance falls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from stitching.test_decoder import SIZE, clips, fitted
from tiny_networks import tiny_generator, tiny_network

from vist3a.distillation.match_tokens import PROBES, MatchTokensConfig, match_tokens, token_targets
from vist3a.distillation.sensitivity import gauss_newton, metric_root
from vist3a.runtime.loop import LoopConfig
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.tuning import prepare

CPU = torch.device("cpu")
POINT = "encoder.norm"


def bad_student(entry: str = "encoder.01") -> StitchedDecoder:
    fit, spec = fitted(entry)
    # A closed-form fit on random tiny networks is near perfect: start from a bad one.
    noise = torch.randn(fit.weight.shape, generator=torch.Generator().manual_seed(1))
    fit = dataclasses.replace(fit, weight=0.3 * noise, position_bias=torch.zeros_like(fit.position_bias))
    student = StitchedDecoder(tiny_network(dtype=torch.float32), spec, fit)
    prepare(student, "full", 4, 8.0)
    return student


def matching(batch: int, **others: Any) -> MatchTokensConfig:
    once = LoopConfig(steps=1, learning_rate=1e-3, ema=None)
    return MatchTokensConfig(**{"point": POINT, "batch": batch, "loop": once, **others})


def test_targets_are_those_of_every_variant_of_a_clip() -> None:
    generator, teacher = tiny_generator(), tiny_network()
    (clip,) = clips(1)
    targets = token_targets(teacher, generator, [clip], matching(1), CPU)
    for row, frames in enumerate((clip.frames, clip.frames.flip(-1))):
        torch.testing.assert_close(targets.latents[row : row + 1], generator.encode(frames[None]))
        expected = teacher.tokens_at([POINT], frames[None])[POINT].patch_tokens
        torch.testing.assert_close(targets.tokens[POINT][row : row + 1], expected)
    plain = token_targets(teacher, generator, [clip], matching(1, mirror=False), CPU)
    torch.testing.assert_close(plain.latents, targets.latents[:1])


@pytest.mark.parametrize(("views", "sensitivity"), [(None, 0.0), (3, 0.0), (None, 0.5)])
def test_tokens_come_closer_and_later_blocks_stay(views: int | None, sensitivity: float) -> None:
    generator, teacher, student = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32), bad_student()
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(2)]
    loop = LoopConfig(steps=100, learning_rate=3e-3, warmup=2, ema=None, weight_decay=0.0)
    config = matching(2, mirror=False, views=views, sensitivity=sensitivity, loop=loop)
    targets = token_targets(teacher, generator, data, config, CPU)

    def distance() -> float:
        with torch.no_grad():
            state = student.state(targets.latents)
            tokens = student.network.run_from(state, SIZE, [POINT], until=POINT)[1][POINT].patch_tokens
        return float((tokens - targets.tokens[POINT]).abs().mean())

    behind = {k: p.clone() for k, p in student.network.named_parameters() if "global_blocks" in k or "head" in k}
    before = distance()
    match_tokens(student, teacher, generator, data, config, seed=0)
    assert distance() < 0.85 * before
    assert behind
    for name, value in behind.items():
        assert torch.equal(student.network.get_parameter(name), value), name


def test_early_steps_train_only_what_lies_before_the_inner_points() -> None:
    generator, teacher = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
    student, inner = bad_student("encoder.00"), "encoder.01"
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(2)]
    loop = LoopConfig(steps=100, learning_rate=3e-3, warmup=2, ema=None, weight_decay=0.0, log_every=25)
    config = matching(2, inner=(inner,), early=0.5, mirror=False, loop=loop)
    targets = token_targets(teacher, generator, data, config, CPU)
    tokens = targets.tokens[inner]
    torch.testing.assert_close(
        tokens, teacher.tokens_at([inner], torch.stack([clip.frames for clip in data]))[inner].patch_tokens
    )

    def distances() -> dict[str, float]:
        with torch.no_grad():
            _, found = student.network.run_from(student.state(targets.latents), SIZE, [inner, POINT], until=POINT)
        return {point: float((found[point].patch_tokens - targets.tokens[point]).abs().mean()) for point in found}

    def values() -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in student.state_dict().items()}

    start, before = values(), distances()
    seen: dict[int, set[str]] = {}
    halfway: dict[str, torch.Tensor] = {}

    def log(step: int, scalars: Mapping[str, float]) -> None:
        seen[step] = {"tokens", "inner"} & scalars.keys()
        if step == 50:
            halfway.update(values())

    match_tokens(student, teacher, generator, data, config, seed=0, log=log)
    assert seen == {25: {"inner"}, 50: {"inner"}, 75: {"tokens", "inner"}, 100: {"tokens", "inner"}}
    # The last block makes the inner tokens; what norms them comes behind.
    block, norm = (
        "network.aggregator.patch_embed.blocks.1.attn.qkv.weight",
        "network.aggregator.patch_embed.norm.weight",
    )
    assert not torch.equal(halfway[block], start[block])
    assert torch.equal(halfway[norm], start[norm])
    assert not torch.equal(values()[norm], start[norm])
    after = distances()
    assert all(after[point] < 0.85 * before[point] for point in (inner, POINT))


def test_inner_points_before_the_stitch_are_left_out() -> None:
    """One parameter set serves a search over stitch points."""
    results = []
    for inner in ((), ("encoder.00", "encoder.01")):
        student = bad_student()
        match_tokens(
            student,
            tiny_network(dtype=torch.float32),
            tiny_generator(dtype=torch.float32),
            [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(1)],
            matching(1, inner=inner, early=0.5, loop=LoopConfig(steps=3, learning_rate=1e-3, warmup=1, ema=None)),
            seed=0,
        )
        results.append(student.state_dict())
    assert all(torch.equal(results[0][name], value) for name, value in results[1].items())


def test_inner_points_behind_the_point_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"distill\.match\.inner: encoder\.norm does not lie before encoder\.norm; allowed: "
    ):
        match_tokens(
            bad_student(),
            tiny_network(dtype=torch.float32),
            tiny_generator(dtype=torch.float32),
            clips(1),
            matching(1, inner=(POINT,)),
            seed=0,
        )


def test_a_point_before_the_stitch_is_refused() -> None:
    student = bad_student()
    names = [point.name for point in student.network.stitch_points]
    with pytest.raises(ValueError, match=r"distill\.match\.point: .* does not lie behind the stitch point"):
        match_tokens(
            student,
            tiny_network(dtype=torch.float32),
            tiny_generator(dtype=torch.float32),
            clips(1),
            matching(1, point=names[names.index(student.point)]),
            seed=0,
        )


def test_a_part_of_the_views_needs_a_point_in_the_encoder() -> None:
    student = bad_student()
    point = next(p.name for p in student.network.stitch_points if p.kind == "aggregator")
    with pytest.raises(ValueError, match=r"distill\.match\.views: 2, but views meet before aggregator"):
        match_tokens(
            student,
            tiny_network(dtype=torch.float32),
            tiny_generator(dtype=torch.float32),
            clips(1),
            matching(1, point=point, views=2),
            seed=0,
        )


def test_running_until_a_point_equals_the_whole_run() -> None:
    network = tiny_network()
    state = network.tokens_at(["encoder.00"], torch.rand(1, 3, 3, *SIZE, dtype=torch.float64))["encoder.00"]
    _, whole = network.run_from(state, SIZE, keep=[POINT])
    _, part = network.run_from(state, SIZE, keep=[POINT], until=POINT)
    assert torch.equal(whole[POINT].patch_tokens, part[POINT].patch_tokens)


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_the_loss_weighs_errors_by_what_they_do_to_the_outputs(share: float) -> None:
    """Of the first step, written out: smooth l1 of errors times a root of the metric, measured on the first clip alone."""
    generator, teacher, student, data = tiny_generator(), tiny_network(), bad_student().double(), clips(2)
    loop = LoopConfig(steps=1, learning_rate=1e-3, log_every=1, ema=None)
    config = matching(4, mirror=False, sensitivity=share, sensitivity_clips=1, loop=loop)
    frames = torch.stack([clip.frames for clip in data])
    target = teacher.tokens_at([POINT], frames)[POINT].patch_tokens
    with torch.no_grad():
        _, states = student.network.run_from(student.state(generator.encode(frames)), SIZE, [POINT], until=POINT)
    errors = (states[POINT].patch_tokens - target) / target.std()
    if share:
        errors = errors @ metric_root(gauss_newton(teacher, data[:1], POINT, CPU, probes=PROBES, seed=5), share)
    sizes = errors.abs()
    by_clip = torch.where(sizes < 1, sizes.square() / 2, sizes - 0.5).flatten(1).mean(1)
    logged: dict[str, float] = {}
    match_tokens(student, teacher, generator, data, config, seed=5, log=lambda _, scalars: logged.update(scalars))
    # Four clips are drawn of two, with replacement: one of five mixtures.
    mixtures = [float(by_clip[0] * n + by_clip[1] * (4 - n)) / 4 for n in range(5)]
    assert any(logged["tokens"] == pytest.approx(value, rel=1e-5) for value in mixtures), (logged, mixtures)


def test_plain_matching_asks_nothing_of_the_outputs() -> None:
    teacher = tiny_network()
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if "head" in name:
                parameter.zero_()
    student = bad_student().double()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with pytest.raises(ValueError, match=r"distill\.match\.sensitivity: no output of this network depends on"):
        match_tokens(student, teacher, tiny_generator(), clips(1), matching(1, sensitivity=0.5), seed=0)
    match_tokens(student, teacher, tiny_generator(), clips(1), matching(1), seed=0)
    assert any(not torch.equal(value, before[name]) for name, value in student.state_dict().items())
