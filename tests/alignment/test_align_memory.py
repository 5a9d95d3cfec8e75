"""What an alignment step leaves behind and says about itself: gradients, references, time of its parts."""

from __future__ import annotations

import gc

import torch
from tiny_alignment import PROMPTS, RENDERED, decoder, scorer
from tiny_networks import tiny_generator, tiny_network

from vist3a.adapters.lora import add_lora
from vist3a.alignment import align as aligning
from vist3a.alignment.align import AlignData, AlignRun, align
from vist3a.alignment.align_settings import AlignSettings
from vist3a.alignment.decoded_views import decode_views
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.records import Clip
from vist3a.rendering import renderer_for
from vist3a.runtime.loop import LoopConfig
from vist3a.runtime.part_meter import PARTS_LOGGED, PartMeter

CPU = torch.device("cpu")
PARTS = ("rollout", "reward", "gradient", "generative")


def with_graph() -> int:
    """Tensors of any graph that are alive; a class is asked for, since some objects warn when they are asked for theirs."""
    gc.collect()
    return sum(issubclass(type(found), torch.Tensor) and found.grad_fn is not None for found in gc.get_objects())


def test_nothing_frozen_gets_a_gradient_and_parts_are_timed(monkeypatch) -> None:
    torch.manual_seed(0)
    stitched, judge, generator = decoder(tiny_network()), scorer(1), tiny_generator()
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
    generator.denoiser.to(torch.float64)
    networks = {"decoder": stitched, "scorer": judge, "generator": generator}
    trained = {name for name, p in generator.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    given: set[str] = set()
    frozen = [p for network in networks.values() for p in network.parameters() if not p.requires_grad]
    before, alive = with_graph(), []
    backpropagate = aligning.backpropagate

    def listened(*arguments) -> None:
        """Between reward and generative loss: what the reward's graph left, and what the denoiser's leaves."""
        alive.append(with_graph())
        assert all(p.grad is None for p in generator.parameters())
        backpropagate(*arguments)
        given.update(name for name, p in generator.named_parameters() if p.grad is not None)
        assert all(p.grad is None for p in frozen)

    monkeypatch.setattr(aligning, "backpropagate", listened)
    logged: dict[int, dict[str, float]] = {}
    settings = AlignSettings(
        seed=3, prompts_per_step=1, clips_per_step=1, denoising_steps=3, gradient_steps=2, guidance=1.5, scored_views=2,
        generative_weight=0.5, frames=5, height=16, width=16,
        loop=LoopConfig(steps=2, learning_rate=1e-2, warmup=0, log_every=1, ema=None),
    )  # fmt: skip
    data = AlignData(PROMPTS, [Clip("c", torch.rand(5, 3, 16, 16).double(), PROMPTS[0])], generator.embed)
    run = AlignRun(log=lambda step, scalars: logged.update({step: dict(scalars)}))
    align(generator, stitched, reward_from(judge, RENDERED), data, settings, run)
    assert given == trained
    # No tensor of the reward's graph outlives it: frames, scene and renderings are gone when the denoiser needs the memory.
    assert alive == [before, before]
    assert all(p.grad is None for network in networks.values() for p in network.parameters())
    for row in logged.values():
        assert all(row[f"seconds/{part}"] > 0 for part in PARTS)
        # Only CUDA tells its memory.
        assert not [name for name in row if name.startswith("gibibytes/")]


def test_a_part_that_comes_twice_is_summed() -> None:
    meter = PartMeter(CPU)
    for _ in range(2):
        with meter("rollout"):
            torch.randn(2000).sum()
    once = meter.scalars()
    assert list(once) == ["seconds/rollout"]
    assert float(once["seconds/rollout"]) > 0
    assert meter.scalars() == {}
    assert all(name.startswith(PARTS_LOGGED) for name in once)


def test_a_video_decoder_in_half_precision_gives_nearly_the_same_gradient() -> None:
    torch.manual_seed(0)
    stitched, reward = decoder(tiny_network()), reward_from(scorer(1), {"text_decoded": 1.0})
    generator = tiny_generator()
    latents = torch.randn(1, *generator.latent_grid(5, 16, 16), generator=torch.Generator().manual_seed(2)).double()
    gradients = []
    for dtype in (torch.float64, torch.bfloat16):
        generator.vae.to(dtype)
        leaf = latents.clone().requires_grad_(True)
        views, _ = decode_views(generator, stitched, renderer_for(CPU), leaf, PROMPTS[:1], torch.arange(5), {"decoded"})
        assert views.decoded is not None
        assert views.decoded.dtype == torch.float64
        total, _ = reward(views)
        (gradient,) = torch.autograd.grad(total.sum(), leaf)
        gradients.append(gradient)
    exact, half = gradients
    assert not torch.equal(exact, half)
    assert float(torch.cosine_similarity(exact.flatten(), half.flatten(), 0)) > 0.99
