"""What a training step draws follows from its seed and number alone, whatever else has drawn from torch's own generator."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from stitching.test_decoder import clips
from test_match_tokens import bad_student, matching
from tiny_networks import tiny_generator, tiny_network

from vist3a.distillation.latent_noise import LatentNoise
from vist3a.distillation.match_outputs import MatchOutputsConfig, match_outputs
from vist3a.distillation.match_tokens import match_tokens
from vist3a.distillation.photometric import Photometric
from vist3a.runtime.loop import LoopConfig

LOOP = LoopConfig(steps=6, learning_rate=1e-3, warmup=0, ema=None)
NOISE = LatentNoise(most=0.5, share=0.5)


@pytest.mark.parametrize("which", ["tokens", "outputs"])
def test_training_is_the_same_whatever_was_drawn_before(which: str) -> None:
    data = [dataclasses.replace(clip, frames=clip.frames.float()) for clip in clips(3)]
    results = []
    for seed in (1, 2):
        generator, teacher = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
        student = bad_student()
        torch.manual_seed(seed)
        if which == "tokens":
            config = matching(2, views=2, noise=NOISE, sensitivity=0.5, loop=LOOP)
            match_tokens(student, teacher, generator, data, config, seed=5)
        else:
            outputs = MatchOutputsConfig(
                batch=2, views=(5,), mirror=True, color_jitter=(0.1, 0.1, 0.1, 0.05), latents="sample", noise=NOISE,
                photometric=Photometric(views=2), loop=LOOP,
            )  # fmt: skip
            match_outputs(student, teacher, generator, data, outputs, seed=5)
        results.append(torch.cat([p.detach().flatten() for p in student.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
