"""What makes Wan faster changes nothing: constant text, fused projections, layout of weights, compiled blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_networks import tiny_generator

from vist3a.adapters.lora import add_lora, merge_lora
from vist3a.generators.wan import WanGenerator
from vist3a.generators.wan_constant_text import constant_text, fits, fuse_projections
from vist3a.sampling.rollout import rollout

PROMPTS = ["a red ball", "the green cube on the floor"]


def sample(generator: WanGenerator, prompts: list[str]) -> torch.Tensor:
    noise = torch.randn(len(prompts), 4, 2, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        condition, negative = generator.embed(prompts), generator.embed([""])
    return rollout(generator, noise, condition, negative, steps=3, guidance=4.0).latents


def plain(generator: WanGenerator, prompts: list[str]) -> torch.Tensor:
    """The same with every step from scratch."""
    noise = torch.randn(len(prompts), 4, 2, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    sampler, z = generator.sampler(3, noise.shape[1:]), noise
    with torch.no_grad():
        condition, negative = generator.embed(prompts), generator.embed([""])
        for k in range(3):
            z = sampler.step(generator.guided(z, sampler.timesteps[k].float(), condition, negative, 4.0), k, z)
    return z


def shaken() -> WanGenerator:
    """A generator whose adapter on the text's projections does something."""
    generator = tiny_generator(1, "unipc")
    add_lora(generator.transformer, 2, 4.0, ["to_q", "to_k", "to_v", "to_out.0"], seed=0)
    generator.transformer.double()
    with torch.no_grad():
        for name, parameter in generator.transformer.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return generator


def test_keys_and_values_once_equal_those_of_every_step() -> None:
    generator = shaken()
    processors = [block.attn2.processor for block in generator.transformer.blocks]
    torch.testing.assert_close(sample(generator, PROMPTS), plain(generator, PROMPTS), rtol=1e-5, atol=1e-6)
    # Nothing is left behind: another prompt is answered afresh, and so is the same one after the weights have changed.
    assert [block.attn2.processor for block in generator.transformer.blocks] == processors
    assert not any("constant" in name for name in vars(generator.transformer.blocks[0].attn2))
    with torch.no_grad():
        for parameter in generator.transformer.blocks[0].attn2.to_k.parameters():
            parameter.mul_(1.5)
    torch.testing.assert_close(sample(generator, PROMPTS), plain(generator, PROMPTS), rtol=1e-5, atol=1e-6)


def test_the_text_of_the_context_counts() -> None:
    generator = tiny_generator(1, "unipc")
    noisy, time = torch.randn(1, 4, 2, 2, 2).double(), torch.full((1,), 300.0)
    with torch.no_grad():
        first, second = (generator.embed([prompt]) for prompt in PROMPTS)
        with constant_text(generator.transformer, first["text"]):
            inside = generator.prediction(noisy, time, second)
        torch.testing.assert_close(inside, generator.prediction(noisy, time, first))
        assert float((inside - generator.prediction(noisy, time, second)).abs().max()) > 1e-4


def test_an_error_on_the_way_in_leaves_the_layers_as_they_were() -> None:
    generator = tiny_generator(1, "unipc")
    text = generator.embed(PROMPTS[:1])["text"]
    layers = [block.attn2 for block in generator.transformer.blocks]
    before = [(sorted(vars(layer)), layer.processor) for layer in layers]
    # The last layer's projection is of another width: the keys of the others are there by then.
    kept, layers[-1].to_k = layers[-1].to_k, torch.nn.Linear(3, 3)
    with pytest.raises(RuntimeError), constant_text(generator.transformer, text):
        raise AssertionError("not reached")
    layers[-1].to_k = kept
    assert [(sorted(vars(layer)), layer.processor) for layer in layers] == before


def test_fused_projections_and_layout_change_nothing() -> None:
    generator = shaken()
    expected = sample(generator, PROMPTS)
    latents = torch.randn(1, 4, 2, 2, 2).double()
    frames = generator.decode(latents)
    merge_lora(generator.transformer)
    fuse_projections(generator.transformer)
    torch.testing.assert_close(sample(generator, PROMPTS), expected, rtol=1e-5, atol=1e-6)
    names = {name for name, _ in generator.transformer.named_parameters()}
    assert not any(".to_k." in name or ".to_v." in name for name in names)
    with torch.no_grad():
        one = generator.embed(PROMPTS[:1])
        guided = generator.guided(latents, torch.tensor(500.0), one, generator.embed([""]), 2.0)
    assert bool(guided.isfinite().all())
    generator.transformer = None  # the layout of the autoencoder alone
    generator.accelerate()
    torch.testing.assert_close(generator.decode(latents), frames, rtol=1e-9, atol=1e-9)


def test_layers_elsewhere_are_asked_in_every_step() -> None:
    generator = tiny_generator(1, "unipc")
    text = torch.zeros(1, 8, 8, device="meta")
    assert not fits(generator.transformer, text)


COMPILED = """
from functools import partialmethod

import torch

# Whether the blocks can be captured whole is what is in question; generating code for the CPU takes minutes.
torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")
from reconstruction_cases import build, clip
from tiny_generators import tiny
from vist3a.sampling.rollout import rollout

generator, network = tiny("wan"), build("anysplat")
noise = torch.randn(1, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0))

def results():
    with torch.no_grad():
        condition, negative = generator.embed(["a red ball"]), generator.embed([""])
        latents = rollout(generator, noise, condition, negative, steps=3, guidance=4.0).latents
        return latents, network.reconstruct(clip()).depth

expected = results()
generator.accelerate()
network.accelerate()
for found, wanted in zip(results(), expected, strict=True):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
print("equal")
"""

TRAINED = """
from functools import partialmethod

import torch

torch.nn.Module.compile = partialmethod(torch.nn.Module.compile, backend="aot_eager")
from tiny_generators import tiny
from vist3a.adapters.lora import add_lora
from vist3a.alignment.reward_gradient import backpropagate
from vist3a.sampling.rollout import rollout

generator = tiny("wan")
add_lora(generator.transformer, 2, 4.0, ["to_q", "to_k", "to_v", "to_out.0"], seed=0)
trained = {name: p for name, p in generator.transformer.named_parameters() if p.requires_grad}
for name, parameter in trained.items():
    if "lora_B" in name:
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(1))
noise = torch.randn(1, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0))

def gradients():
    with torch.no_grad():
        condition, negative = generator.embed(["a red ball"]), generator.embed([""])
    path = rollout(generator, noise, condition, negative, steps=3, guidance=4.0, keep=(0, 2))
    backpropagate(generator, path, torch.sin(path.latents), condition, negative, 4.0)
    found = {name: p.grad for name, p in trained.items()}
    for parameter in trained.values():
        parameter.grad = None
    return found

expected = gradients()
generator.compile_for_training()
generator.checkpoint_gradients()
for _ in range(2):
    found = gradients()
    for name, wanted in expected.items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-3, atol=1e-5)
print("equal" if max(float(g.abs().max()) for g in expected.values()) > 1e-3 else "nothing to compare")
"""

DECODED = """
from functools import partial

import torch

torch.compile = partial(torch.compile, backend="aot_eager")
from tiny_generators import tiny

generator = tiny("wan")
generator.transformer = None
latents = torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
weights = torch.randn(1, 9, 3, 16, 16, generator=torch.Generator().manual_seed(1))

def results():
    frames = generator.decode(latents)
    return frames.detach(), *torch.autograd.grad((frames * weights).sum(), latents)

expected = results()
generator.compile_for_training()
for checkpointing in (False, True):
    if checkpointing:
        generator.checkpoint_gradients()
    for found, wanted in zip(results(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
print("equal" if float(expected[1].abs().max()) > 1e-2 else "nothing to compare")
"""


@pytest.mark.parametrize("program", [COMPILED, TRAINED, DECODED], ids=["inference", "training", "decoding"])
def test_compiled_blocks_change_nothing(program: str) -> None:
    """In a process of its own: the checks of shapes that these tests switch on are nothing to compile."""
    tests = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr[-2000:]
