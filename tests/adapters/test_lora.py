"""Adapters in PEFT's layout: what PEFT itself writes is read, what is written PEFT reads; merging changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_generators import tiny

from vist3a.adapters.lora import (
    ADAPTER,
    CONFIG,
    WEIGHTS,
    add_lora,
    fold_lora,
    load_lora,
    merge_lora,
    merged_lora,
    save_lora,
    without_lora,
)
from vist3a.generators.base import VideoGenerator
from vist3a.runtime.loop import LoopConfig, TrainingLoop

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def answer(generator: VideoGenerator) -> torch.Tensor:
    """The denoiser's answer to a fixed question."""
    random = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, *generator.latent_grid(5, 32, 32), generator=random)
    with torch.no_grad():
        return generator.prediction(noisy, torch.full((1,), 300.0), generator.embed(["a red ball"]))


def shaken(denoiser: Any) -> None:
    with torch.no_grad():
        for name, parameter in denoiser.named_parameters():
            if "lora_B" in name:  # zero at the start
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video"])
def test_an_adapter_comes_back(kind: str, tmp_path: Path) -> None:
    generator, other = tiny(kind), tiny(kind)
    plain = answer(generator)
    add_lora(generator.denoiser, 2, 4.0, TARGETS, seed=3)
    torch.testing.assert_close(answer(generator), plain)  # B starts at zero
    shaken(generator.denoiser)
    adapted = answer(generator)
    assert float((adapted - plain).abs().max()) > 1e-3
    save_lora(generator.denoiser, tmp_path)
    load_lora(other.denoiser, tmp_path)
    ours, theirs = (dict(g.denoiser.named_parameters()) for g in (generator, other))
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    torch.testing.assert_close(answer(other), adapted)
    assert not any(p.requires_grad for p in other.denoiser.parameters())
    merge_lora(other.denoiser)
    assert not any("lora" in name for name, _ in other.denoiser.named_parameters())
    torch.testing.assert_close(answer(other), adapted, rtol=1e-4, atol=1e-5)


def test_peft_reads_and_writes_the_same_layout(tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    generator = tiny("wan")
    wrapped = get_peft_model(tiny("wan").denoiser, LoraConfig(r=3, lora_alpha=16, target_modules=TARGETS))
    shaken(wrapped)
    wrapped.save_pretrained(tmp_path / "theirs")
    expected = tiny("wan")
    expected.transformer = wrapped
    load_lora(generator.denoiser, tmp_path / "theirs")
    torch.testing.assert_close(answer(generator), answer(expected))
    save_lora(generator.denoiser, tmp_path / "ours")
    ours, theirs = (load_file(tmp_path / who / WEIGHTS) for who in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    again = tiny("wan")
    again.transformer = PeftModel.from_pretrained(again.transformer, str(tmp_path / "ours"))
    torch.testing.assert_close(answer(again), answer(expected))


def test_the_same_adapter_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        generator = tiny("wan")
        add_lora(generator.denoiser, 2, 4.0, TARGETS, seed=3)
        save_lora(generator.denoiser, tmp_path / name)
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no adapter_config\.json and no adapter_model\.safetensors"):
        load_lora(tiny("wan").denoiser, tmp_path)
    generator = tiny("wan")
    add_lora(generator.denoiser, 2, 4.0, TARGETS, seed=3)
    save_lora(generator.denoiser, tmp_path)
    with pytest.raises(ValueError, match="the adapter is of another network"):
        load_lora(tiny("cogvideox").denoiser, tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    name = next(iter(state))
    save_file(
        state | {name.replace("lora_A", "lora_C").replace("lora_B", "lora_C"): state[name].clone()}, tmp_path / WEIGHTS
    )
    with pytest.raises(ValueError, match="unexpected"):
        load_lora(tiny("wan").denoiser, tmp_path)
    settings = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(settings | {"peft_type": "IA3"}))
    with pytest.raises(ValueError, match="peft_type is 'IA3'; allowed: LORA"):
        load_lora(tiny("wan").denoiser, tmp_path)


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video"])
def test_a_denoiser_of_half_precision_trains_adapters_of_float32(kind: str, tmp_path: Path) -> None:
    denoiser = tiny(kind).denoiser.to(torch.bfloat16)
    add_lora(denoiser, 4, 8.0, TARGETS, seed=3)
    trained = {name: value for name, value in denoiser.named_parameters() if value.requires_grad}
    assert all("lora_" in name and value.dtype == torch.float32 for name, value in trained.items())
    loop = TrainingLoop({"denoiser": denoiser}, LoopConfig(steps=1, learning_rate=1e-4, ema=0.9))
    assert all(value.dtype == torch.float32 for value in loop.average)
    for name, value in trained.items():
        if "lora_A" in name:
            # PEFT's start: uniform within 1 / sqrt(inputs).
            assert float(value.detach().abs().max()) <= 1.01 / value.shape[1] ** 0.5
            assert float(value.detach().std()) == pytest.approx((3 * value.shape[1]) ** -0.5, rel=0.35)
    save_lora(denoiser, tmp_path)
    assert {value.dtype for value in load_file(tmp_path / WEIGHTS).values()} == {torch.float32}
    other = tiny(kind).denoiser.to(torch.bfloat16)
    load_lora(other, tmp_path)
    stored = dict(other.named_parameters())
    assert all(torch.equal(stored[name], value) for name, value in trained.items())


def test_a_small_adapter_is_not_lost_in_a_rollout_or_in_generation() -> None:
    """A delta of a 2,000th of the weights is less than the last bit of most in bfloat16."""
    generator = tiny("wan")
    generator.denoiser.to(torch.bfloat16)
    plain = answer(generator)
    add_lora(generator.denoiser, 4, 8.0, TARGETS, seed=3)
    with torch.no_grad():
        for layer in (module for module in generator.denoiser.modules() if hasattr(module, "lora_B")):
            layer.lora_B[ADAPTER].weight.normal_(generator=torch.Generator().manual_seed(5))
            size = layer.get_delta_weight(ADAPTER).norm() / layer.get_base_layer().weight.float().norm()
            layer.lora_B[ADAPTER].weight.mul_(5e-4 / size)
    adapted = answer(generator)
    assert not torch.equal(adapted, plain)
    with merged_lora(generator.denoiser):
        assert torch.equal(answer(generator), adapted)
    before = {
        name: module.get_delta_weight(ADAPTER)
        for name, module in generator.denoiser.named_modules()
        if hasattr(module, "lora_B")
    }
    weights = {name: generator.denoiser.get_submodule(name).get_base_layer().weight.clone() for name in before}
    merge_lora(generator.denoiser)
    for name, delta in before.items():
        layer = generator.denoiser.get_submodule(name)
        assert torch.equal(layer.get_base_layer().weight, weights[name])
        kept = layer.get_delta_weight(ADAPTER)
        assert kept.dtype == torch.bfloat16
        assert float((kept.float() - delta).detach().norm() / delta.detach().norm()) < 0.01


def norm_of(denoiser: Any) -> float:
    """Of all that the adapter adds to the weights."""
    layers = [module for module in denoiser.modules() if hasattr(module, "lora_B")]
    return float(
        torch.stack([layer.get_delta_weight(ADAPTER).detach().square().sum() for layer in layers]).sum().sqrt()
    )


def test_settings_of_single_layers_count(tmp_path: Path) -> None:
    """As PEFT itself reads them: ``alpha_pattern``, ``rank_pattern``, rslora."""
    from peft import LoraConfig, PeftModel, get_peft_model

    config = LoraConfig(
        r=3,
        lora_alpha=16,
        target_modules=TARGETS,
        alpha_pattern={"attn1.to_q": 100},
        rank_pattern={"to_v": 2},
        use_rslora=True,
    )
    wrapped = get_peft_model(tiny("wan").denoiser, config)
    shaken(wrapped)
    wrapped.save_pretrained(tmp_path)
    theirs = PeftModel.from_pretrained(tiny("wan").denoiser, str(tmp_path), adapter_name=ADAPTER)
    ours = tiny("wan").denoiser
    load_lora(ours, tmp_path)
    assert norm_of(ours) == pytest.approx(norm_of(theirs), rel=1e-6)
    settings = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(settings | {"alpha_pattern": {}}))
    plain = tiny("wan").denoiser
    load_lora(plain, tmp_path)
    assert norm_of(plain) < 0.9 * norm_of(ours)


def stored_adapter(folder: Path) -> tuple[dict[str, torch.Tensor], float]:
    """Weights of an adapter that was written to ``folder``, and its norm."""
    denoiser = tiny("wan").denoiser
    add_lora(denoiser, 2, 4.0, TARGETS, seed=3)
    shaken(denoiser)
    save_lora(denoiser, folder)
    return load_file(folder / WEIGHTS), norm_of(denoiser)


@pytest.mark.parametrize("absent", ["lora_B", "whole layer"])
def test_an_incomplete_adapter_is_refused_by_name(absent: str, tmp_path: Path) -> None:
    state, _ = stored_adapter(tmp_path)
    layer = "blocks.1.attn2.to_k"
    gone = [key for key in state if f".{layer}." in f".{key}" and (absent == "whole layer" or absent in key)]
    assert gone
    save_file({key: value for key, value in state.items() if key not in gone}, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=rf"incomplete, 1 of its weights are missing \(for example {layer}\.lora_"):
        load_lora(tiny("wan").denoiser, tmp_path)


def test_names_of_kohya_and_of_diffusers_are_read_and_others_named(tmp_path: Path) -> None:
    state, norm = stored_adapter(tmp_path)
    kohya = {}
    for key, value in state.items():
        name, part, _ = key.removeprefix("base_model.model.").rsplit(".", 2)
        flat = "lora_unet_" + name.replace(".", "_")
        kohya[f"{flat}.{'lora_down' if part == 'lora_A' else 'lora_up'}.weight"] = value
        kohya[f"{flat}.alpha"] = torch.tensor(8.0)
    save_file(kohya, tmp_path / WEIGHTS)
    denoiser = tiny("wan").denoiser
    load_lora(denoiser, tmp_path)
    assert norm_of(denoiser) == pytest.approx(2 * norm, rel=1e-5)  # alpha 8 instead of 4
    save_file(
        {"transformer." + key.removeprefix("base_model.model."): v for key, v in state.items()}, tmp_path / WEIGHTS
    )
    denoiser = tiny("wan").denoiser
    load_lora(denoiser, tmp_path)
    assert norm_of(denoiser) == pytest.approx(norm, rel=1e-6)
    save_file({f"lora_te_{n}.hada_w1": value for n, value in enumerate(state.values())}, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match="another layout of adapters"):
        load_lora(tiny("wan").denoiser, tmp_path)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:200])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        load_lora(tiny("wan").denoiser, tmp_path)


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video"])
def test_merged_for_a_while_it_answers_alike_and_is_itself_again(kind: str) -> None:
    generator = tiny(kind)
    denoiser = generator.denoiser
    with merged_lora(denoiser):  # nothing to merge
        plain = answer(generator)
    add_lora(denoiser, 2, 4.0, TARGETS, seed=3)
    shaken(denoiser)
    before = {name: value.clone() for name, value in denoiser.state_dict().items()}
    trained = [name for name, value in denoiser.named_parameters() if value.requires_grad]
    adapted = answer(generator)
    layers = [module for module in denoiser.modules() if hasattr(module, "merged_adapters")]
    with pytest.raises(KeyboardInterrupt), merged_lora(denoiser):
        merged = answer(generator)
        assert all(layer.merged_adapters for layer in layers)
        raise KeyboardInterrupt
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-5)
    assert float((merged - plain).abs().max()) > 1e-3
    assert all(torch.equal(value, before[name]) for name, value in denoiser.state_dict().items())
    assert [name for name, value in denoiser.named_parameters() if value.requires_grad] == trained
    assert torch.equal(answer(generator), adapted)


def test_without_the_adapter_it_is_the_network_before_and_afterwards_it_is_trained_again() -> None:
    generator = tiny("wan")
    plain = answer(generator)
    with without_lora(generator.denoiser):
        assert torch.equal(answer(generator), plain)
    add_lora(generator.denoiser, 2, 4.0, TARGETS, seed=3)
    shaken(generator.denoiser)
    adapted = answer(generator)
    trained = [name for name, p in generator.denoiser.named_parameters() if p.requires_grad]
    with pytest.raises(KeyError), without_lora(generator.denoiser):
        assert torch.equal(answer(generator), plain)
        raise KeyError
    assert torch.equal(answer(generator), adapted)
    assert [name for name, p in generator.denoiser.named_parameters() if p.requires_grad] == trained != []
    # Of a frozen adapter nothing is trained afterwards either.
    generator.denoiser.requires_grad_(False)
    with without_lora(generator.denoiser):
        pass
    assert not any(p.requires_grad for p in generator.denoiser.parameters())


def test_a_folded_adapter_is_part_of_the_weights() -> None:
    generator = tiny("wan").double()
    add_lora(generator.denoiser, 2, 4.0, TARGETS, seed=3)
    generator.denoiser.double()
    shaken(generator.denoiser)
    adapted = answer(generator)
    fold_lora(generator.denoiser)
    assert not any("lora" in name for name, _ in generator.denoiser.named_parameters())
    torch.testing.assert_close(answer(generator), adapted, rtol=1e-5, atol=1e-6)
