"""Parts of both rounds written out, on frames that are wider than high and on the borders of their schedules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from stitching.test_decoder import clips as square_clips
from test_match_tokens import CPU, POINT, bad_student, matching
from tiny_networks import tiny_generator, tiny_network
from wide_cases import WIDE, wide_clips, wide_decoder

from vist3a.distillation.color_jitter import brightness, color_jitter, contrast, hue, saturation
from vist3a.distillation.distill_loss import DistillWeights, distill_terms, weighted
from vist3a.distillation.latent_noise import LatentNoise, with_noise
from vist3a.distillation.match_outputs import MatchOutputsConfig, match_outputs
from vist3a.distillation.match_tokens import PROBES, MatchTokensConfig, match_tokens, token_targets
from vist3a.distillation.photometric import Photometric, photometric_loss
from vist3a.distillation.sensitivity import gauss_newton, metric_root
from vist3a.rendering import renderer_for
from vist3a.runtime.loop import LoopConfig, step_generator


@pytest.mark.parametrize("seed", range(6))
def test_a_jitter_is_its_four_parts_in_the_order_drawn(seed: int) -> None:
    frames = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    ranges = (0.9, 0.7, 0.5, 0.3)
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(4, generator=random).tolist()
    low_to_high = [2 * u - 1 for u in torch.rand(4, generator=random, dtype=torch.float64).tolist()]
    expected = frames
    for which in order:
        amount = ranges[which] * low_to_high[which]
        expected = (
            hue(expected, amount) if which == 3 else (brightness, contrast, saturation)[which](expected, 1 + amount)
        )
    torch.testing.assert_close(color_jitter(frames, ranges, torch.Generator().manual_seed(seed)), expected)


def test_parts_of_a_jitter_stay_within_the_range_of_colors() -> None:
    frames = torch.tensor([0.9, 0.05, 0.5], dtype=torch.float64).view(1, 3, 1, 1).repeat(1, 1, 2, 3)
    frames[..., 0] = frames[..., 0].flip(1)
    gray = (frames * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)).sum(1, keepdim=True)
    for change, towards in ((contrast, gray.mean((1, 2, 3), keepdim=True)), (saturation, gray)):
        expected = (1.9 * frames - 0.9 * towards).clamp(0, 1)
        assert float(expected.min()) == 0 and float(expected.max()) == 1
        torch.testing.assert_close(change(frames, 1.9), expected)
    assert float(brightness(frames, 2.0).max()) == 1 and not brightness(frames, 0.0).any()


@pytest.mark.parametrize("outputs", ["depth", "translations", "rotations"])
def test_sensitivity_knows_no_unit_of_the_outputs_and_frames_of_any_shape(outputs: str) -> None:
    """The heads' last layers a thousandth as steep: the same shares; of an output that is all of it, its trace is the width."""
    network, clips = tiny_network(), wide_clips(2, 3)
    found = gauss_newton(network, clips, POINT, CPU, probes=3, seed=1, outputs=(outputs,))  # type: ignore[arg-type]
    assert found.shape == (16, 16) and float(found.trace()) == pytest.approx(16) and found.dtype == torch.float64
    torch.testing.assert_close(found, found.T)
    again = gauss_newton(network, clips, POINT, CPU, probes=3, seed=1, outputs=(outputs,))  # type: ignore[arg-type]
    other = gauss_newton(network, clips, POINT, CPU, probes=3, seed=2, outputs=(outputs,))  # type: ignore[arg-type]
    assert torch.equal(found, again) and not torch.equal(found, other)
    if outputs != "depth":
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "camera_head.pose_branch.fc2" in name:
                    parameter.mul_(1e-4)
        faint = gauss_newton(network, clips, POINT, CPU, probes=3, seed=1, outputs=(outputs,))  # type: ignore[arg-type]
        assert float(faint.trace()) == pytest.approx(16)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_clip_and_probe_counts(dtype: torch.dtype) -> None:
    """The sum over clips is that of the clips one by one, with the draws that follow each other; in double precision."""
    network = tiny_network(dtype=dtype)
    clips = [dataclasses.replace(clip, frames=clip.frames.to(dtype)) for clip in wide_clips(2, 3)]
    frames = [clip.frames[None] for clip in clips]
    total, draws = torch.zeros(16, 16, dtype=torch.float64), torch.Generator().manual_seed(4)
    for seen in frames:
        state = network.tokens_at([POINT], seen)[POINT]
        tokens = state.patch_tokens.detach().requires_grad_()
        taps, _ = network.run_from(dataclasses.replace(state, patch_tokens=tokens), WIDE)
        value = network.heads(taps, WIDE, seen, with_gaussians=False).pose_encodings[-1][..., :3]
        for _ in range(2):
            signs = 2.0 * torch.randint(2, value.shape, generator=draws) - 1
            (gradient,) = torch.autograd.grad((value * signs).sum(), tokens, retain_graph=True)
            for row in gradient.reshape(-1, 16).double():
                total += row.outer(row)
    found = gauss_newton(network, clips, POINT, CPU, probes=2, seed=4, outputs=("translations",))
    torch.testing.assert_close(found, total / total.trace() * 16, rtol=1e-9, atol=1e-12)


def test_the_last_early_step_is_the_one_before_its_share() -> None:
    seen: dict[int, set[str]] = {}

    def log(step: int, scalars: Mapping[str, float]) -> None:
        seen[step] = {"tokens", "inner"} & scalars.keys()

    loop = LoopConfig(steps=4, learning_rate=1e-4, warmup=0, ema=None, log_every=1)
    config = matching(1, inner=("encoder.01",), early=0.5, loop=loop)
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in square_clips(1)]
    student = bad_student("encoder.00")
    match_tokens(
        student, tiny_network(dtype=torch.float32), tiny_generator(dtype=torch.float32), data, config, seed=0, log=log
    )
    assert seen == {1: {"inner"}, 2: {"inner"}, 3: {"tokens", "inner"}, 4: {"tokens", "inner"}}


@pytest.mark.parametrize("views", [None, 2])
def test_a_step_on_tokens_written_out_for_wide_clips(views: int | None) -> None:
    """Two goals, noise, some of the views, mirrored clips: the logged loss is the sum by hand."""
    generator, teacher, student = tiny_generator(), tiny_network(seed=3), wide_decoder()
    clips, noise = wide_clips(3), LatentNoise(most=0.3, share=1.0)
    loop = LoopConfig(steps=1, learning_rate=0.0, weight_decay=0.0, warmup=0, ema=None, log_every=1)
    config = MatchTokensConfig(
        point="encoder.norm", batch=2, inner=(), views=views, noise=noise, mirror=True, inner_weight=0.5, loop=loop,
        sensitivity=0.4, sensitivity_clips=2, sensitive=("rotations",),
    )  # fmt: skip
    logged: dict[str, float] = {}
    match_tokens(student, teacher, generator, clips, config, seed=7, log=lambda _, values: logged.update(values))
    targets = token_targets(teacher, generator, clips, config, CPU)
    assert targets.latents.shape[0] == 6 and targets.tokens["encoder.norm"].shape[2:4] == (2, 4)
    random = step_generator(7, 0)
    rows = torch.randint(6, (2,), generator=random)
    chosen = torch.arange(5) if views is None else torch.randperm(5, generator=random)[:views]
    latents = with_noise(targets.latents[rows], noise, random)
    state = student.state(latents, None if views is None else chosen)
    _, states = student.network.run_from(state, WIDE, keep=("encoder.norm",), until="encoder.norm")
    goal = targets.tokens["encoder.norm"]
    error = (states["encoder.norm"].patch_tokens - goal[rows][:, chosen]) / goal.std()
    measured = gauss_newton(teacher, clips[:2], "encoder.norm", CPU, probes=PROBES, seed=7, outputs=("rotations",))
    error = error @ metric_root(measured, 0.4)
    size = error.abs()
    expected = torch.where(size < 1, size.square() / 2, size - 0.5).mean()
    assert logged["loss"] == pytest.approx(float(expected.detach()), rel=1e-6)


def test_a_step_on_outputs_written_out_for_wide_clips() -> None:
    """Heads that read the picture, all terms, renderings of one clip of two; no loop, no training."""
    generator, teacher, student = tiny_generator(), tiny_network(seed=3), wide_decoder()
    clips = wide_clips(1)
    weights = DistillWeights(depth=0.5, points=0.3, intrinsics=0.7, extrinsics=0.2)
    loop = LoopConfig(steps=1, learning_rate=0.0, weight_decay=0.0, warmup=0, ema=None, log_every=1)
    photometric = Photometric(weight=0.25, views=5, clips=1, squared=2.0, absolute=3.0)
    config = MatchOutputsConfig(batch=2, views=(5,), weights=weights, photometric=photometric, loop=loop)
    logged: dict[str, float] = {}
    match_outputs(student, teacher, generator, clips, config, seed=1, log=lambda _, values: logged.update(values))
    frames = clips[0].frames[None]
    found, target = student(generator.encode(frames), WIDE, rgb=frames), teacher.reconstruct(frames)
    terms = distill_terms(found, target, weights)
    assert found.gaussians is not None and found.depth.shape[-2:] == WIDE
    apart = renderer_for(CPU)(found.gaussians, found.cameras, WIDE).rgb - frames
    rendered = 2 * apart.square().mean() + 3 * apart.abs().mean()
    for name, term in terms.items():
        assert logged[name] == pytest.approx(float(term.detach()), rel=1e-6), name
    assert logged["photometric"] == pytest.approx(float(rendered.detach()), rel=1e-5)
    whole = weighted(terms, weights) + 0.25 * rendered
    assert logged["loss"] == pytest.approx(float(whole.detach()), rel=1e-5)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    match_outputs(student, teacher, generator, clips, dataclasses.replace(config, loop=None), seed=1)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


@pytest.mark.parametrize("size", [(8, 32), (16, 16), (32, 16)])
def test_renderings_need_frames_of_both_sides_of_the_scene(size: tuple[int, int]) -> None:
    scene = tiny_network().reconstruct(wide_clips(1)[0].frames[None])
    frames = torch.rand(1, 5, 3, *size, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"but the scene is of \(16, 32\)"):
        photometric_loss(scene, frames, Photometric(), renderer_for(CPU), torch.Generator())


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="none is above 0 for what this network has"):
        weighted({}, DistillWeights())
    term = torch.tensor(2.0)
    assert float(weighted({"depth": term}, DistillWeights(depth=0.0))) == 0
