"""The cheap reward gradient is the naive one: against one graph over the whole rollout with detached inputs (DRTune)."""

from __future__ import annotations

import pytest
import torch
from tiny_networks import tiny_generator

from vist3a.adapters.lora import add_lora
from vist3a.alignment.reward_gradient import backpropagate, backpropagate_through
from vist3a.sampling.rollout import prediction_coefficients, prompt_noise, rollout
from vist3a.shortening.shorten import flow_map_scheduler

STEPS = 5
# K = 1 to 4, without and with the last step.
KEPT = [(0,), (4,), (1, 3), (2, 4), (0, 1, 3), (0, 2, 4), (0, 1, 2, 3), (0, 1, 3, 4)]
PROMPTS = ["a red ball", "the green cube on the floor"]


def reward(latents: torch.Tensor) -> torch.Tensor:
    """Any smooth function of the final latents."""
    weight = torch.linspace(-1, 1, latents[0].numel(), dtype=latents.dtype).view(latents.shape[1:])
    return (torch.sin(latents * 1.3) * weight).sum() + 0.1 * latents.square().sum()


def naive_gradients(generator, noise, text, empty, guidance, keep):
    """Backpropagate through the sampler itself; inputs of the denoiser detached, only kept steps carry a graph.

    The published Euler step rounds its state to float32; here it is what it says, z + (sigma_next - sigma) * velocity.
    """
    sampler = generator.sampler(STEPS, noise.shape[1:])
    euler = type(sampler.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
    z = noise
    for k, timestep in enumerate(sampler.timesteps):
        with torch.set_grad_enabled(k in keep):
            v = generator.guided(z.detach(), timestep.float(), text, empty, guidance)
        z = z + sampler.scheduler.sigmas.diff()[k].double() * v if euler else sampler.step(v, k, z)
        assert z.dtype == torch.float64
    (-reward(z.to(noise.dtype))).backward()
    return z.detach(), {n: p.grad.clone() for n, p in generator.transformer.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("scheduler", ["euler", "unipc"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("keep", KEPT)
def test_equals_the_naive_graph(scheduler: str, guidance: float, keep: tuple[int, ...]) -> None:
    generator = tiny_generator(1, scheduler)
    add_lora(generator.transformer, 2, 4.0, ["to_q", "to_k", "to_v", "to_out.0"], seed=0)
    generator.transformer.double()
    for name, parameter in generator.transformer.named_parameters():
        if "lora_B" in name:  # zero at the start: the gradient of A would vanish
            torch.nn.init.normal_(parameter, std=0.2)
    shape = generator.latent_grid(5, 16, 16)
    noise = torch.cat([prompt_noise(p, 0, shape) for p in PROMPTS]).double()
    with torch.no_grad():
        text, empty = generator.embed(PROMPTS), generator.embed([""])
    z_naive, expected = naive_gradients(generator, noise, text, empty, guidance, keep)
    generator.zero_grad()
    path = rollout(generator, noise, text, empty, steps=STEPS, guidance=guidance, keep=keep)
    torch.testing.assert_close(path.latents, z_naive, rtol=1e-10, atol=1e-10)
    latents = path.latents.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(-reward(latents), latents)
    for together in (1, 2, 3):
        generator.zero_grad()
        backpropagate(generator, path, gradient, text, empty, guidance, together)
        got = {n: p.grad for n, p in generator.transformer.named_parameters() if p.grad is not None}
        assert got.keys() == expected.keys()
        assert got
        for name, value in expected.items():
            assert float((got[name] - value).norm()) <= 1e-9 * float(value.norm()), name


def test_euler_coefficients_are_the_steps_in_sigma() -> None:
    generator = tiny_generator(0)
    shape = generator.latent_grid(5, 16, 16)
    sigmas = generator.sampler(7, shape).scheduler.sigmas
    torch.testing.assert_close(prediction_coefficients(generator, 7, shape), sigmas.diff().double())


def test_noise_depends_on_prompt_and_seed_only() -> None:
    assert torch.equal(prompt_noise("a", 1, (2, 1, 3, 3)), prompt_noise("a", 1, (2, 1, 3, 3)))
    assert not torch.equal(prompt_noise("a", 1, (2, 1, 3, 3)), prompt_noise("b", 1, (2, 1, 3, 3)))
    assert not torch.equal(prompt_noise("a", 1, (2, 1, 3, 3)), prompt_noise("a", 2, (2, 1, 3, 3)))


def test_a_prompt_does_not_depend_on_its_batch() -> None:
    generator = tiny_generator(2)
    shape = generator.latent_grid(5, 16, 16)
    with torch.no_grad():
        empty = generator.embed([""])

        def sample(prompts: list[str]) -> torch.Tensor:
            noise = torch.cat([prompt_noise(p, 0, shape) for p in prompts]).double()
            return rollout(generator, noise, generator.embed(prompts), empty, steps=4, guidance=2.0).latents

        torch.testing.assert_close(sample(PROMPTS)[1:], sample(PROMPTS[1:]), rtol=1e-10, atol=1e-10)


def whole_gradients(generator, noise, text, empty, guidance):
    """One graph over the whole rollout, the states between the steps and all."""
    sampler = generator.sampler(STEPS, noise.shape[1:])
    euler = type(sampler.scheduler).__name__ != "UniPCMultistepScheduler"
    z, lengths = noise, sampler.lengths
    for k, timestep in enumerate(sampler.timesteps):
        with generator.stepping(lengths[k]):
            v = generator.guided(z, timestep.float(), text, empty, guidance)
        z = z + sampler.scheduler.sigmas.diff()[k].double() * v if euler else sampler.step(v, k, z)
    (-reward(z.to(noise.dtype))).backward()
    return z.detach(), {n: p.grad.clone() for n, p in generator.transformer.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("scheduler", ["euler", "unipc", "flow_map"])
def test_through_all_steps_it_is_the_gradient_of_one_graph_with_nothing_cut_off(scheduler: str) -> None:
    """Of a multistep scheduler, too, where every state hangs on all predictions before; and of a denoiser that knows lengths."""
    generator = tiny_generator(1, "unipc" if scheduler == "unipc" else "euler")
    add_lora(generator.transformer, 2, 4.0, ["to_q", "to_k", "to_v", "to_out.0"], seed=0)
    if scheduler == "flow_map":
        generator.scheduler = flow_map_scheduler(3.0)
        generator.learn_lengths().length.requires_grad_(True)
    generator.transformer.double()
    for name, parameter in generator.transformer.named_parameters():
        if "lora_B" in name or "length" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    guidance = 1.0 if scheduler == "flow_map" else 3.0
    noise = torch.cat([prompt_noise(p, 0, generator.latent_grid(5, 16, 16)) for p in PROMPTS]).double()
    with torch.no_grad():
        text, empty = generator.embed(PROMPTS), generator.embed([""])
    z, expected = whole_gradients(generator, noise, text, empty, guidance)
    generator.zero_grad()
    path = rollout(generator, noise, text, empty, steps=STEPS, guidance=guidance, keep=range(STEPS))
    torch.testing.assert_close(path.latents, z, rtol=1e-10, atol=1e-10)
    latents = path.latents.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(-reward(latents), latents)
    backpropagate_through(generator, path, gradient, text, empty, guidance)
    got = {n: p.grad.clone() for n, p in generator.transformer.named_parameters() if p.grad is not None}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert float((got[name] - value).norm()) <= 1e-9 * float(value.norm()), name
    # The states between are most of what sets it apart from DRTune's.
    generator.zero_grad()
    backpropagate(generator, path, gradient, text, empty, guidance)
    cut = {n: p.grad for n, p in generator.transformer.named_parameters() if p.grad is not None}
    assert any(float((cut[name] - value).norm()) > 1e-3 * float(value.norm()) for name, value in expected.items())


def test_a_rollout_with_forgotten_steps_has_no_whole_gradient() -> None:
    generator = tiny_generator(1)
    text = generator.embed(PROMPTS[:1])
    noise = prompt_noise(PROMPTS[0], 0, generator.latent_grid(5, 16, 16)).double()
    path = rollout(generator, noise, text, None, steps=3, guidance=1.0, keep=[0, 2])
    with pytest.raises(ValueError, match="needs the inputs of its 3 steps, found 2"):
        backpropagate_through(generator, path, torch.zeros_like(path.latents), text, None, 1.0)
