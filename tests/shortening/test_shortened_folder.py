"""A shortened generator as a folder: it comes back as it was, alone or under alignment's adapter, and says what it is of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from ltx_video import tiny_ltx
from safetensors.torch import load_file, save_file
from tiny_alignment import PROMPTS
from tiny_generators import tiny

from vist3a.adapters.lora import add_lora, load_lora, save_lora
from vist3a.generators.base import VideoGenerator
from vist3a.runtime.loop import LoopConfig
from vist3a.sampling.rollout import prompt_noise, rollout
from vist3a.shortening.artifact import FILE, LENGTHS, SCHEDULER, load_shortened, save_shortened
from vist3a.shortening.shorten import take_few_steps
from vist3a.shortening.shorten_settings import ShortenSettings
from vist3a.weights.identity import Identity

DENOISER, OTHER = Identity("wan", "here", "abc"), Identity("wan", "there", "def")
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def made(kind: str, dtype: torch.dtype = torch.float32) -> VideoGenerator:
    generator = tiny_ltx() if kind == "ltx" else tiny(kind)
    if dtype != torch.float32:
        generator.denoiser.to(dtype)
    return generator


def shortened(kind: str, dtype: torch.dtype = torch.float32) -> VideoGenerator:
    """As after training: adapter and embedding at values of their own, the scheduler for few steps."""
    generator = made(kind, dtype)
    add_lora(generator.denoiser, 2, 4.0, TARGETS, seed=0)
    embedding = generator.learn_lengths()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in generator.denoiser.named_parameters():
            if "lora_" in name or any(parameter is own for own in embedding.length.parameters()):
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=random))
    frames = generator.allowed_frames(9)
    loop = LoopConfig(steps=1, learning_rate=1.0)
    settings = ShortenSettings(seed=0, frames=frames, height=64, width=64, guidance=3.0, paths=1, loop=loop)
    take_few_steps(generator, settings)
    return generator


def sample(generator: VideoGenerator, steps: int) -> torch.Tensor:
    shape = generator.latent_grid(generator.allowed_frames(9), 64, 64)
    noise = prompt_noise(PROMPTS[0], 1, shape)
    guidance = generator.only_guidance
    assert guidance is not None
    return rollout(generator, noise, generator.embed(PROMPTS[:1]), None, steps=steps, guidance=guidance).latents


@pytest.mark.parametrize("kind", ["wan", "hunyuan_video", "ltx"])
def test_it_comes_back(kind: str, tmp_path: Path) -> None:
    trained, fresh = shortened(kind), made(kind)
    save_shortened(tmp_path, trained, DENOISER, (1, 4))
    told = load_shortened(fresh, tmp_path, DENOISER)
    assert (told.denoiser, told.counts) == (DENOISER, (1, 4))
    assert told.only_guidance == fresh.only_guidance == (3.0 if kind == "hunyuan_video" else 1.0)
    assert fresh.scheduler.config.shift == pytest.approx(trained.scheduler.config.shift)
    for steps in (1, 4):
        torch.testing.assert_close(sample(fresh, steps), sample(trained, steps), rtol=1e-3, atol=1e-4)
    assert not any("lora" in name or p.requires_grad for name, p in fresh.denoiser.named_parameters())


def test_the_embedding_of_lengths_and_the_scheduler_are_part_of_it(tmp_path: Path) -> None:
    trained, fresh = shortened("wan"), made("wan")
    save_shortened(tmp_path, trained, DENOISER, (4,))
    (tmp_path / LENGTHS).unlink()  # as published adapters are
    load_shortened(fresh, tmp_path)
    assert type(fresh.scheduler).__name__ == "FlowMapEulerDiscreteScheduler"
    assert float((sample(fresh, 2) - sample(trained, 2)).abs().max()) > 1e-3
    torch.testing.assert_close(fresh.sampler(4, (4, 1, 2, 2)).timesteps, trained.sampler(4, (4, 1, 2, 2)).timesteps)


def test_alignment_puts_its_adapter_beside_it(tmp_path: Path) -> None:
    """The few-step adapter is part of the weights; the one of alignment is saved and loaded alone."""
    save_shortened(tmp_path / "short", shortened("wan"), DENOISER, (4,))
    aligned, again = made("wan"), made("wan")
    for generator in (aligned, again):
        load_shortened(generator, tmp_path / "short")
    plain = sample(aligned, 4)
    add_lora(aligned.denoiser, 2, 4.0, TARGETS, seed=5)
    torch.testing.assert_close(sample(aligned, 4), plain)
    with torch.no_grad():
        for name, parameter in aligned.denoiser.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(1))
    save_lora(aligned.denoiser, tmp_path / "aligned")
    load_lora(again.denoiser, tmp_path / "aligned")
    torch.testing.assert_close(sample(again, 4), sample(aligned, 4))
    assert float((sample(again, 4) - plain).abs().max()) > 1e-3


def test_weights_of_half_precision_take_it_rounded(tmp_path: Path) -> None:
    wide, low = shortened("wan"), made("wan", torch.bfloat16)
    save_shortened(tmp_path, wide, DENOISER, (4,))
    load_shortened(low, tmp_path)
    fresh = made("wan")
    load_shortened(fresh, tmp_path)
    name = "blocks.0.attn1.to_q.weight"
    full, half = (dict(g.denoiser.named_parameters())[name] for g in (fresh, low))
    assert half.dtype == torch.bfloat16
    # The sum of rounded weights and the adapter, rounded once.
    torch.testing.assert_close(half.float(), full, rtol=2**-7, atol=2**-9)


def test_what_does_not_belong_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"holds no shortened\.json; allowed: what `kedro run --pipelines=shorten` leaves"
    ):
        load_shortened(made("wan"), tmp_path)
    with pytest.raises(ValueError, match=r"was not shortened; allowed: one that vist3a\.shortening"):
        save_shortened(tmp_path, made("wan"), DENOISER, (4,))
    save_shortened(tmp_path, shortened("wan"), DENOISER, (4,))
    with pytest.raises(ValueError, match=r"is a shortening for the denoiser wan here.*not for wan there"):
        load_shortened(made("wan"), tmp_path, OTHER)
    good = json.loads((tmp_path / SCHEDULER).read_text())
    (tmp_path / SCHEDULER).write_text(json.dumps({**good, "_class_name": "os.system"}))
    with pytest.raises(ValueError, match=r"scheduler 'os\.system'; allowed: FlowMapEulerDiscreteScheduler"):
        load_shortened(made("wan"), tmp_path)
    (tmp_path / SCHEDULER).unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no scheduler_config\.json"):
        load_shortened(made("wan"), tmp_path)
    (tmp_path / SCHEDULER).write_text(json.dumps(good))
    lengths = load_file(tmp_path / LENGTHS)
    save_file({name: value[..., :2].contiguous() for name, value in lengths.items()}, tmp_path / LENGTHS)
    with pytest.raises(ValueError, match="the embedding of step lengths is of another denoiser"):
        load_shortened(made("wan"), tmp_path)
    (tmp_path / LENGTHS).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is no whole safetensors file"):
        load_shortened(made("wan"), tmp_path)
    told = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**told, "format": 2}))
    with pytest.raises(ValueError, match="format 2; allowed: 1"):
        load_shortened(made("wan"), tmp_path)
