"""Noise on what a student sees, and renderings against the true frames."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from stitching.test_decoder import clips
from test_match_tokens import CPU, POINT, bad_student, matching
from tiny_networks import tiny_generator, tiny_network

from vist3a.distillation.latent_noise import LatentNoise, with_noise
from vist3a.distillation.match_outputs import MatchOutputsConfig, match_outputs
from vist3a.distillation.match_tokens import match_tokens, token_targets
from vist3a.distillation.photometric import Photometric, photometric_loss
from vist3a.rendering import renderer_for
from vist3a.runtime.loop import LoopConfig, step_generator
from vist3a.stitching.decoder import StitchedDecoder


def test_noise_has_the_stated_share_of_each_clip_and_level() -> None:
    latents = torch.randn(400, 4, 3, 4, 4, dtype=torch.float64) * torch.linspace(0.1, 5, 400)[:, None, None, None, None]
    noisy = with_noise(latents, LatentNoise(most=0.5, share=0.75), torch.Generator().manual_seed(0))
    ratio = (noisy - latents).square().mean((1, 2, 3, 4)).sqrt() / latents.square().mean((1, 2, 3, 4)).sqrt()
    assert float((ratio > 0).double().mean()) == pytest.approx(0.75, abs=0.06)
    levels = ratio[ratio > 0]
    # Uniform below the largest, up to the spread of 192 normal numbers.
    assert float(levels.mean()) == pytest.approx(0.25, abs=0.02)
    assert float(levels.max()) == pytest.approx(0.5, rel=0.15) and float(levels.min()) < 0.03
    again = with_noise(latents, LatentNoise(most=0.5, share=0.75), torch.Generator().manual_seed(0))
    torch.testing.assert_close(again, noisy, rtol=0, atol=0)
    # A draw of independent noise per clip.
    errors = (noisy - latents)[ratio > 0].flatten(1)
    cosine = torch.nn.functional.cosine_similarity(errors[:-1], errors[1:], dim=1)
    assert float(cosine.abs().mean()) < 0.1


def test_without_noise_nothing_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 3, 4, 4)
    assert with_noise(latents, None, generator) is latents
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=torch.Generator().manual_seed(0)))


def error_under_noise(student: StitchedDecoder, share: float) -> float:
    """Squared error of tokens from noisy latents to those of clean frames."""
    generator, teacher = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(2)]
    targets = token_targets(teacher, generator, data, matching(2, mirror=False), CPU)
    errors = []
    for seed in range(20):
        eps = torch.randn(targets.latents.shape, generator=torch.Generator().manual_seed(1000 + seed))
        size = targets.latents.square().mean((1, 2, 3, 4), keepdim=True).sqrt()
        with torch.no_grad():
            _, states = student.network.run_from(
                student.state(targets.latents + share * size * eps), (16, 16), keep=(POINT,), until=POINT
            )
        errors.append((states[POINT].patch_tokens - targets.tokens[POINT]).square().mean())
    return float(torch.stack(errors).mean())


def test_a_student_that_saw_noise_bears_it_better() -> None:
    generator, teacher = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(2)]
    loop = LoopConfig(steps=250, learning_rate=3e-3, warmup=2, ema=None, weight_decay=0.0)
    errors = []
    for noise in (None, LatentNoise(most=1.0, share=1.0)):
        student = bad_student()
        match_tokens(student, teacher, generator, data, matching(2, mirror=False, noise=noise, loop=loop), seed=0)
        errors.append(error_under_noise(student, 0.7))
    assert errors[1] < 0.85 * errors[0], errors


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_student_of_the_outputs_sees_noise_and_is_held_against_the_frames(weight: float) -> None:
    """One step at learning rate 0: the loss is the one written out by hand, with the teacher on clean frames."""
    generator, teacher, student = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32), bad_student()
    (clip,) = (dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(1))
    noise, photometric = LatentNoise(most=0.4, share=1.0), Photometric(weight=weight, views=2)
    loop = LoopConfig(steps=1, learning_rate=0.0, weight_decay=0.0, warmup=0, ema=None, log_every=1)
    config = MatchOutputsConfig(
        batch=1, views=(len(clip.frames),), features=(POINT,), noise=noise, photometric=photometric, loop=loop
    )
    logged: dict[str, float] = {}
    match_outputs(student, teacher, generator, [clip], config, seed=3, log=lambda _, values: logged.update(values))
    random = step_generator(3, 0)
    # What a step draws before: clips, their number of views, their first frames.
    torch.randint(1, (1,), generator=random)
    torch.randint(1, (), generator=random)
    torch.randint(1, (), generator=random)
    frames = clip.frames[None]
    latents = with_noise(generator.encode(frames), noise, random)
    assert not torch.equal(latents, generator.encode(frames))
    found = student(latents, (16, 16), rgb=frames)
    chosen = torch.randperm(len(clip.frames), generator=random)[:2]
    rendered = renderer_for(CPU)(found.gaussians, found.cameras[:, chosen], (16, 16)).rgb
    difference = rendered - frames[:, chosen]
    expected = 6 * difference.square().mean() + 0.5 * difference.abs().mean()
    assert logged["photometric"] == pytest.approx(float(expected.detach()), rel=1e-4)
    depth = (found.depth - teacher.reconstruct(frames).depth).abs().mean()
    assert logged["depth"] == pytest.approx(float(depth.detach()), rel=1e-4)
    other = sum(
        getattr(config.weights, name) * value for name, value in logged.items() if hasattr(config.weights, name)
    )
    assert logged["loss"] == pytest.approx(other + weight * float(expected.detach()), rel=1e-4)


def test_renderings_of_other_sizes_and_scenes_without_gaussians_are_refused() -> None:
    network = tiny_network(dtype=torch.float32)
    frames = clips(1)[0].frames.float()[None]
    scene = network.reconstruct(frames)
    draw = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="frames of"):
        photometric_loss(scene, torch.rand(1, frames.shape[1], 3, 8, 8), Photometric(), renderer_for(CPU), draw)
    with pytest.raises(ValueError, match="without Gaussians"):
        photometric_loss(dataclasses.replace(scene, gaussians=None), frames, Photometric(), renderer_for(CPU), draw)


def test_of_a_batch_the_first_clips_are_rendered() -> None:
    network = tiny_network(dtype=torch.float32)
    frames = torch.stack([clip.frames.float() for clip in clips(3)])
    scene, config = network.reconstruct(frames), Photometric(views=2, clips=2)
    found = photometric_loss(scene, frames, config, renderer_for(CPU), torch.Generator().manual_seed(0))
    both = network.reconstruct(frames[:2])
    whole = dataclasses.replace(config, clips=None)
    expected = photometric_loss(both, frames[:2], whole, renderer_for(CPU), torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, expected)
    every = photometric_loss(scene, frames, whole, renderer_for(CPU), torch.Generator().manual_seed(0))
    assert abs(float(every - found)) > 1e-4
