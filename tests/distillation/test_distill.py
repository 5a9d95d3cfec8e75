"""Distillation: terms against direct formulas, zero for the teacher itself, and a few steps lower the loss."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from stitching.test_decoder import SIZE, clips, fitted
from tiny_networks import tiny_generator, tiny_network

from vist3a.distillation.distill import DistillSettings, distill
from vist3a.distillation.distill_loss import DistillWeights, distill_terms, feature_distance, weighted
from vist3a.distillation.match_outputs import match_outputs
from vist3a.distillation.match_tokens import MatchTokensConfig, match_tokens
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.runtime.loop import LoopConfig, TrainingLoop
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.tuning import prepare


def test_the_teacher_is_at_distance_zero() -> None:
    network = tiny_network()
    frames = torch.rand(1, 5, 3, *SIZE, dtype=torch.float64)
    output = network.reconstruct(frames)
    states = network.trunk(frames, keep=["encoder.norm"])[1]
    assert all(float(term) == 0 for term in distill_terms(output, output).values())
    assert float(feature_distance(states, states)) == 0


def test_terms_are_mean_absolute_differences() -> None:
    network = tiny_network()
    a = network.reconstruct(torch.rand(1, 5, 3, *SIZE, dtype=torch.float64))
    b = network.reconstruct(torch.rand(1, 5, 3, *SIZE, dtype=torch.float64))
    terms = distill_terms(a, b)
    torch.testing.assert_close(terms["depth"], (a.depth - b.depth).abs().mean())
    torch.testing.assert_close(terms["pose"], (a.pose_encodings - b.pose_encodings).abs().mean())
    assert a.gaussians is not None
    assert b.gaussians is not None
    covariances = []
    for gaussians in (a.gaussians, b.gaussians):
        rotation = rotation_from_quaternion(gaussians.rotations)
        covariances.append(rotation @ torch.diag_embed(gaussians.scales**2) @ rotation.transpose(-1, -2))
    expected = sum(
        (x - y).abs().mean()
        for x, y in (
            (a.gaussians.means, b.gaussians.means),
            tuple(covariances),
            (a.gaussians.harmonics, b.gaussians.harmonics),
            (a.gaussians.opacities, b.gaussians.opacities),
            (a.gaussians.rotations, b.gaussians.rotations),
        )
    )
    torch.testing.assert_close(terms["gaussians"], expected)
    assert a.gaussian_confidence is not None
    assert b.gaussian_confidence is not None
    direct = {
        "points": (a.points - b.points).abs().mean(),
        "confidence": (a.depth_confidence - b.depth_confidence).abs().mean(),
        "points_confidence": (a.points_confidence - b.points_confidence).abs().mean(),
        "gaussian_confidence": (a.gaussian_confidence - b.gaussian_confidence).abs().mean(),
        "extrinsics": (a.cameras.world_to_camera.inverse() - b.cameras.world_to_camera.inverse()).abs().mean(),
    }
    for name, value in direct.items():
        torch.testing.assert_close(terms[name], value, msg=name)
    sides = torch.tensor([SIZE[1], SIZE[0], 1.0], dtype=torch.float64)[:, None]
    apart = (a.cameras.intrinsics / sides - b.cameras.intrinsics / sides).abs().mean()
    torch.testing.assert_close(terms["intrinsics"], apart)
    assert set(distill_terms(a, b, DistillWeights())) == {
        "pose", "depth", "depth_gradient", "confidence", "gaussians", "gaussian_confidence", "scales", "anchor_features",
    }  # fmt: skip
    weights = DistillWeights(depth=2.0, pose=3.0)
    other = dataclasses.replace(weights, depth=0.0)
    torch.testing.assert_close(weighted(terms, weights) - weighted(terms, other), 2 * terms["depth"])


@pytest.mark.parametrize("name", ["depth", "points"])
def test_gradients_are_the_mean_of_four_scales_per_pixel(name: str) -> None:
    """Written out with loops over pixels; a jump of more than the limit counts as the limit."""
    network = tiny_network()
    a = network.reconstruct(torch.rand(1, 5, 3, *SIZE, dtype=torch.float64))
    jumping = a.depth.clone()
    jumping[0, 0, 3, 3] += 500.0
    b = dataclasses.replace(a, depth=jumping, points=a.points + torch.rand(a.points.shape, dtype=torch.float64))
    difference = (a.depth - b.depth)[..., None] if name == "depth" else a.points - b.points
    total = 0.0
    for level in range(4):
        seen = difference[:, :, :: 2**level, :: 2**level].numpy()
        across = abs(seen[:, :, :, 1:] - seen[:, :, :, :-1]).clip(max=100)
        down = abs(seen[:, :, 1:] - seen[:, :, :-1]).clip(max=100)
        total += (across.sum() + down.sum()) / seen.size / 4
    assert float(distill_terms(a, b)[f"{name}_gradient"]) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("change", [{"color_jitter": (0.5, 0.5, 0.5, 0.1)}, {"latents": "sample"}])
def test_what_a_step_sees_can_be_varied(change: dict[str, object]) -> None:
    """Jittered clips for both networks, and samples instead of modes: other losses, the same again for the same seed."""
    generator, teacher = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(2)]

    def losses(**changes: object) -> list[float]:
        fit, spec = fitted()
        student = StitchedDecoder(tiny_network(dtype=torch.float32), spec, fit)
        prepare(student, "full", 4, 8.0)
        found: list[float] = []
        loop = LoopConfig(steps=2, learning_rate=1e-4, warmup=0, log_every=1, ema=None)
        settings = dataclasses.replace(DistillSettings(seed=0, batch=1, views=(5,), loop=loop), **changes)  # type: ignore[arg-type]
        distill(
            student, teacher, generator, data, settings, logs=lambda _: lambda _, scalars: found.append(scalars["loss"])
        )
        return found

    varied = losses(**change)
    assert varied == losses(**change)
    assert varied[0] != losses()[0]


def test_low_precision_does_not_hold_the_student_back() -> None:
    """Adapters are of float32 and biases of bfloat16 move by steps that are less than their last bit."""
    network = tiny_network(dtype=torch.float32).mixed_precision()
    fit, spec = fitted()
    student = StitchedDecoder(network, spec, fit)
    prepare(student, "lora", 4, 8.0)
    trained = {name: value for name, value in student.named_parameters() if value.requires_grad}
    assert {value.dtype for name, value in trained.items() if "lora_" in name} == {torch.float32}
    low = [name for name, value in trained.items() if value.dtype == torch.bfloat16]
    assert low and all(name.endswith("base_layer.bias") for name in low)
    with torch.no_grad():
        for name in low:
            trained[name].fill_(1.0)

    def step_loss(step: int):
        return torch.stack([trained[name].float().sum() for name in low]).sum(), {}

    loop = TrainingLoop(
        {"student": student}, LoopConfig(steps=50, learning_rate=2e-4, warmup=0, weight_decay=0.0, ema=None)
    )
    loop.run(step_loss)
    # 50 steps of a cosine schedule: 25 rates; a step alone would be lost in 1.
    for name in low:
        moved = 1 - trained[name].detach().float()
        assert float(moved.min()) == pytest.approx(25 * 2e-4, rel=0.3)


@pytest.mark.parametrize(("tuning", "mixed"), [("full", False), ("lora", False), ("lora", True)])
def test_a_few_steps_lower_the_loss(tuning: str, mixed: bool) -> None:
    generator, teacher = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
    fit, spec = fitted()
    # A closed-form fit on random tiny networks is near perfect: start from a bad one.
    noise = torch.randn(fit.weight.shape, generator=torch.Generator().manual_seed(1))
    fit = dataclasses.replace(fit, weight=0.3 * noise, position_bias=torch.zeros_like(fit.position_bias))
    network = tiny_network(dtype=torch.float32)
    student = StitchedDecoder(network.mixed_precision() if mixed else network, spec, fit)
    prepare(student, tuning, 4, 8.0)
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(2)]
    losses: list[float] = []
    distill(
        student,
        teacher,
        generator,
        data,
        DistillSettings(
            seed=0,
            batch=2,
            views=(5,),
            features=("encoder.norm", "aggregator.global.03"),
            heads_every=2,
            weights=DistillWeights(features=1.0),
            loop=LoopConfig(steps=24, learning_rate=2e-3, warmup=2, log_every=1, ema=None),
        ),
        logs=lambda _: lambda _, scalars: losses.append(scalars["loss"]),
    )
    heads = losses[::2]  # every second step compares the heads' outputs too
    assert sum(heads[-3:]) < 0.9 * sum(heads[:3])


def test_both_rounds_follow_each_other(tmp_path: Path) -> None:
    """One call is the two rounds by hand, to the bit; each has its log, and finished training is not done again."""
    generator, teacher = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(2)]
    match = MatchTokensConfig(
        point="encoder.norm", batch=1, loop=LoopConfig(steps=3, learning_rate=1e-3, warmup=0, ema=None)
    )
    settings = DistillSettings(
        seed=5,
        match=match,
        batch=1,
        views=(5,),
        loop=LoopConfig(steps=2, learning_rate=1e-4, warmup=0, log_every=1, ema=None),
    )

    def student() -> StitchedDecoder:
        fit, spec = fitted()
        made = StitchedDecoder(tiny_network(dtype=torch.float32), spec, fit)
        prepare(made, "full", 4, 8.0)
        return made

    by_hand, at_once, again = student(), student(), student()
    match_tokens(by_hand, teacher, generator, data, match, seed=5)
    match_outputs(by_hand, teacher, generator, data, settings, seed=5)
    logged: dict[str, list[int]] = {}
    for one in (at_once, again):
        distill(
            one, teacher, generator, data, settings, folder=tmp_path,
            logs=lambda name: lambda step, _: logged.setdefault(name, []).append(step),
        )  # fmt: skip
    assert logged == {"match": [3], "distill": [1, 2]}
    for name, value in by_hand.state_dict().items():
        assert torch.equal(at_once.state_dict()[name], value), name
        assert torch.equal(again.state_dict()[name], value), name
    only_tokens, tokens_by_hand = student(), student()
    distill(only_tokens, teacher, generator, data, dataclasses.replace(settings, loop=None))
    match_tokens(tokens_by_hand, teacher, generator, data, match, seed=5)
    for name, value in tokens_by_hand.state_dict().items():
        assert torch.equal(only_tokens.state_dict()[name], value), name
