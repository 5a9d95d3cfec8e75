"""Published few-step adapters under the names that people write, held against the sum of weights and products."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_generators import tiny

from vist3a.sampling.rollout import prompt_noise, rollout
from vist3a.shortening.artifact import load_shortened
from vist3a.shortening.published import adopt
from vist3a.shortening.shorten import flow_map_scheduler
from vist3a.weights.identity import Identity

IDENTITY = Identity("wan", "here", "abc")
# Layers of diffusers by their names in the original code; one has another rank.
LAYERS = {
    "blocks.0.attn1.to_q": "blocks.0.self_attn.q",
    "blocks.1.attn1.to_out.0": "blocks.1.self_attn.o",
    "blocks.0.attn2.to_k": "blocks.0.cross_attn.k",
    "blocks.1.ffn.net.0.proj": "blocks.1.ffn.0",
    "blocks.0.ffn.net.2": "blocks.0.ffn.2",
}


def weights() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    random, network = torch.Generator().manual_seed(0), tiny("wan").denoiser
    found = {}
    for number, layer in enumerate(LAYERS):
        out, into = network.get_submodule(layer).weight.shape
        rank = 2 + number % 2
        found[layer] = (
            0.3 * torch.randn(rank, into, generator=random), 0.3 * torch.randn(out, rank, generator=random)
        )  # fmt: skip
    return found


def file_of(layout: str, folder: Path) -> tuple[Path, float | None]:
    """A file in a layout, and the alpha that it states."""
    state, alpha = {}, 3.0 if layout in ("kohya", "kohya original", "original") else None
    for layer, (down, up) in weights().items():
        name = LAYERS[layer] if "original" in layout else layer
        if layout.startswith("kohya"):
            name = "lora_unet_" + name.replace(".", "_")
        else:
            name = {"peft": "base_model.model.", "diffusers": "transformer."}.get(layout, "diffusion_model.") + name
        one, two = (
            ("lora_A", "lora_B") if layout in ("peft", "diffusers", "original, no alpha") else ("lora_down", "lora_up")
        )
        state[f"{name}.{one}.weight"], state[f"{name}.{two}.weight"] = down, up
        if alpha is not None:
            state[f"{name}.alpha"] = torch.tensor(alpha)
    save_file(state, folder / "few.safetensors")
    return folder / "few.safetensors", alpha


@pytest.mark.parametrize("layout", ["peft", "diffusers", "kohya", "kohya original", "original", "original, no alpha"])
def test_every_layout_becomes_the_same_sum(layout: str, tmp_path: Path) -> None:
    file, alpha = file_of(layout, tmp_path)
    generator, plain = tiny("wan"), tiny("wan")
    scheduler = flow_map_scheduler(5.0)
    adopt(file, tmp_path / "short", generator.denoiser, IDENTITY, counts=(4,), scheduler=scheduler)
    told = load_shortened(generator, tmp_path / "short", IDENTITY)
    assert (told.counts, generator.only_guidance) == ((4,), 1.0)
    for layer, (down, up) in weights().items():
        scale = 1.0 if alpha is None else alpha / len(down)
        expected = plain.denoiser.get_submodule(layer).weight + scale * up @ down
        torch.testing.assert_close(generator.denoiser.get_submodule(layer).weight, expected, rtol=1e-5, atol=1e-6)
    # Shift 5, as everybody samples these in four steps.
    shape = generator.latent_grid(5, 32, 32)
    assert generator.sampler(4, shape).timesteps.tolist() == pytest.approx([1000, 937.5, 833.333, 625], abs=0.01)
    noise = prompt_noise("a red ball", 0, shape)
    found = rollout(generator, noise, generator.embed(["a red ball"]), None, steps=4, guidance=1.0).latents
    assert bool(found.isfinite().all())


def test_adapters_that_change_more_than_lora_can_are_refused(tmp_path: Path) -> None:
    file, _ = file_of("original", tmp_path)
    from safetensors.torch import load_file

    for extra in ("diffusion_model.blocks.0.self_attn.q.diff_b", "diffusion_model.head.head.lora_down.weight"):
        save_file({**load_file(file), extra: torch.zeros(3)}, tmp_path / "more.safetensors")
        with pytest.raises(
            ValueError, match=r"is no LoRA weight of a layer of this denoiser; allowed: adapters that change"
        ):
            adopt(
                tmp_path / "more.safetensors", tmp_path / "short", tiny("wan").denoiser, IDENTITY,
                counts=(4,), scheduler=flow_map_scheduler(5.0),
            )  # fmt: skip
    assert not (tmp_path / "short").exists()
