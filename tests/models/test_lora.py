"""Adapters in PEFT's layout: what PEFT itself writes is read, what is written PEFT reads; merging changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_generators import tiny

from vist3a.models.generators.base import VideoGenerator
from vist3a.models.lora import CONFIG, WEIGHTS, add_lora, load_lora, merge_lora, merged_lora, save_lora

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
