"""AnyFlow against diffusers' own pipeline of the same random networks, and through a whole rollout with its gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_networks import tiny_generator

from vist3a.adapters.lora import add_lora
from vist3a.alignment.reward_gradient import backpropagate_through
from vist3a.generators.anyflow import PUBLISHED, AnyFlowGenerator
from vist3a.sampling.rollout import rollout

PROMPTS = ["a red ball", "a green cube on the floor"]


def tiny_anyflow(kind: str = "r") -> AnyFlowGenerator:
    from diffusers import AnyFlowTransformer3DModel, FlowMapEulerDiscreteScheduler

    wan = tiny_generator(dtype=torch.float32)
    torch.manual_seed(1)
    transformer = AnyFlowTransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=8,
        freq_dim=8,
        ffn_dim=16,
        num_layers=2,
        deltatime_type=kind,
    )
    scheduler = FlowMapEulerDiscreteScheduler(shift=5.0)
    generator = AnyFlowGenerator(wan.vae, transformer, wan.text_encoder, wan.tokenizer, scheduler, 8)
    return generator.requires_grad_(False).eval()


def start(generator: AnyFlowGenerator) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, *generator.latent_grid(5, 16, 16), generator=random)


@pytest.mark.parametrize("kind", ["r", "t-r"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_it_samples_as_the_public_pipeline(kind: str, steps: int) -> None:
    from diffusers import AnyFlowPipeline

    generator = tiny_anyflow(kind)
    noise, condition = start(generator), generator.embed(PROMPTS)
    pipeline: Any = AnyFlowPipeline(
        generator.tokenizer, generator.text_encoder, generator.transformer, generator.vae, generator.scheduler
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=condition["text"], latents=noise, height=16, width=16, num_frames=5,
        num_inference_steps=steps, guidance_scale=1.0, output_type="latent",
    ).frames  # fmt: skip
    found = rollout(generator, noise, condition, None, steps=steps, guidance=1.0).latents
    assert float((found - noise).abs().max()) > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_every_sample_has_its_own_length_and_none_is_told_a_wrong_guidance() -> None:
    generator = tiny_anyflow()
    noise, condition, times = start(generator), generator.embed(PROMPTS), torch.full((2,), 900.0)
    answers = {}
    for length in (0.0, 600.0):
        with generator.stepping(torch.tensor(length)):
            answers[length] = generator.prediction(noise, times, condition)
    assert torch.equal(generator.prediction(noise, times, condition), answers[0.0])
    assert float((answers[600.0] - answers[0.0]).abs().max()) > 1e-4
    with generator.stepping(torch.tensor([0.0, 600.0])):
        both = generator.prediction(noise, times, condition)
    torch.testing.assert_close(both[0], answers[0.0][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[1], answers[600.0][1], rtol=1e-4, atol=1e-5)
    with pytest.raises(
        ValueError, match="guidance 5, but this generator was shortened with its guidance inside; allowed: 1"
    ):
        rollout(generator, noise, condition, generator.embed([""]), steps=2, guidance=5.0)
    with pytest.raises(ValueError, match="AnyFlowGenerator cannot be shortened"):
        generator.learn_lengths()


def test_it_can_be_aligned_through_its_whole_rollout() -> None:
    """An adapter in its attention, and the gradient of one graph over all steps."""
    generator = tiny_anyflow()
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_k", "to_v", "to_out.0"], seed=0)
    generator.double()
    for name, parameter in generator.denoiser.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    noise, condition = start(generator).double(), generator.embed(PROMPTS)
    sampler, z = generator.sampler(3, noise.shape[1:]), noise
    for k, timestep in enumerate(sampler.timesteps.float()):
        with generator.stepping(sampler.lengths[k]):
            z = sampler.step(generator.guided(z, timestep, condition, None, 1.0), k, z)
    z.square().sum().backward()
    expected = {n: p.grad.clone() for n, p in generator.denoiser.named_parameters() if p.grad is not None}
    generator.zero_grad()
    path = rollout(generator, noise, condition, None, steps=3, guidance=1.0, keep=range(3))
    backpropagate_through(generator, path, 2 * path.latents, condition, None, 1.0)
    found = {n: p.grad for n, p in generator.denoiser.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys() and found
    for name, value in expected.items():
        # Embeddings of time are made in float32.
        assert float((found[name] - value).norm()) <= 1e-5 * float(value.norm()), name


def test_the_published_sizes_are_wans_but_for_the_denoiser() -> None:
    (parts,) = PUBLISHED.values()
    assert parts["transformer"].network == "AnyFlowTransformer3DModel"
    assert parts["vae"].network == "AutoencoderKLWan"
