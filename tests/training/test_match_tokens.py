"""The first round of distillation: exact targets, nothing behind the point is touched, the distance falls."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from stitching.test_decoder import SIZE, clips, fitted
from tiny_networks import tiny_generator, tiny_network

from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.tuning import prepare
from vist3a.training.loop import LoopConfig
from vist3a.training.match_tokens import MatchTokensConfig, match_tokens, token_targets

CPU = torch.device("cpu")
POINT = "encoder.norm"


def bad_student() -> StitchedDecoder:
    fit, spec = fitted()
    # A closed-form fit on random tiny networks is near perfect: start from a bad one.
    noise = torch.randn(fit.weight.shape, generator=torch.Generator().manual_seed(1))
    fit = dataclasses.replace(fit, weight=0.3 * noise, position_bias=torch.zeros_like(fit.position_bias))
    student = StitchedDecoder(tiny_network(dtype=torch.float32), spec, fit)
    prepare(student, "full", 4, 8.0)
    return student


def test_targets_are_those_of_every_variant_of_a_clip() -> None:
    generator, teacher = tiny_generator(), tiny_network()
    (clip,) = clips(1)
    targets = token_targets(teacher, generator, [clip], MatchTokensConfig(POINT, 1), CPU)
    for row, frames in enumerate(
        (clip.frames, clip.frames.flip(-1), clip.frames.flip(0), clip.frames.flip(0).flip(-1))
    ):
        torch.testing.assert_close(targets.latents[row : row + 1], generator.encode(frames[None]))
        expected = teacher.tokens_at([POINT], frames[None])[POINT].patch_tokens
        torch.testing.assert_close(targets.tokens[row : row + 1], expected)
    plain = token_targets(teacher, generator, [clip], MatchTokensConfig(POINT, 1, mirror=False), CPU)
    torch.testing.assert_close(plain.latents, targets.latents[:1])


@pytest.mark.parametrize(("views", "sensitivity"), [(None, 0.0), (3, 0.0), (None, 0.5)])
def test_tokens_come_closer_and_later_blocks_stay(views: int | None, sensitivity: float) -> None:
    generator, teacher, student = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32), bad_student()
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(2)]
    config, loop = (
        MatchTokensConfig(POINT, 2, mirror=False, views=views, sensitivity=sensitivity),
        LoopConfig(steps=100, learning_rate=3e-3, warmup=2, ema=None, weight_decay=0.0),
    )
    targets = token_targets(teacher, generator, data, config, CPU)

    def distance() -> float:
        with torch.no_grad():
            state = student.state(targets.latents)
            tokens = student.network.run_from(state, SIZE, [POINT], until=POINT)[1][POINT].patch_tokens
        return float((tokens - targets.tokens).abs().mean())

    behind = {k: p.clone() for k, p in student.network.named_parameters() if "global_blocks" in k or "head" in k}
    before = distance()
    match_tokens(student, teacher, generator, data, loop, config, seed=0)
    assert distance() < 0.85 * before
    assert behind
    for name, value in behind.items():
        assert torch.equal(student.network.get_parameter(name), value), name


def test_a_point_before_the_stitch_is_refused() -> None:
    student = bad_student()
    names = [point.name for point in student.network.stitch_points]
    with pytest.raises(ValueError, match=r"distill\.match\.point: .* does not lie behind the stitch point"):
        match_tokens(
            student,
            tiny_network(dtype=torch.float32),
            tiny_generator(dtype=torch.float32),
            clips(1),
            LoopConfig(steps=1, learning_rate=1e-3),
            MatchTokensConfig(names[names.index(student.point)], 1),
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
            LoopConfig(steps=1, learning_rate=1e-3),
            MatchTokensConfig(point, 1, views=2),
            seed=0,
        )


def test_running_until_a_point_equals_the_whole_run() -> None:
    network = tiny_network()
    state = network.tokens_at(["encoder.00"], torch.rand(1, 3, 3, *SIZE, dtype=torch.float64))["encoder.00"]
    _, whole = network.run_from(state, SIZE, keep=[POINT])
    _, part = network.run_from(state, SIZE, keep=[POINT], until=POINT)
    assert torch.equal(whole[POINT].patch_tokens, part[POINT].patch_tokens)
