"""The adapter of an aligned generator as a folder that knows itself."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_generators import tiny

from vist3a.adapters.artifact import FILE, Aligned, load_adapter, read_artifact, save_adapter
from vist3a.adapters.lora import add_lora
from vist3a.weights.identity import Identity, Pairing

PAIRING = Pairing(Identity("wan", "data/wan", "a" * 64), Identity("anysplat", "data/anysplat", "b" * 64))
ALIGNED = Aligned(PAIRING, Identity("wan", "data/wan", "e" * 64), "f" * 64, "encoder.03")


def saved(folder: Path) -> Any:
    """The denoiser whose adapter, of weights that are not zero, lies in ``folder``."""
    denoiser = tiny("wan").denoiser
    add_lora(denoiser, 2, 6.0, ["to_q"], seed=1)
    with torch.no_grad():
        for name, parameter in denoiser.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    save_adapter(folder, denoiser, ALIGNED)
    return denoiser


def low_rank(denoiser: Any) -> list[torch.Tensor]:
    return [parameter.detach() for name, parameter in denoiser.named_parameters() if "lora_" in name]


def test_it_says_what_it_is_and_is_read_back(tmp_path: Path) -> None:
    denoiser, other = saved(tmp_path), tiny("wan").denoiser
    load_adapter(tmp_path, other, ALIGNED)
    assert all(torch.equal(a, b) for a, b in zip(low_rank(denoiser), low_rank(other), strict=True))
    artifact = read_artifact(tmp_path)
    assert artifact is not None
    assert (artifact.aligned, artifact.rank, artifact.alpha) == (ALIGNED, 2, 6.0)


def test_another_place_of_the_same_weights_is_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path)
    load_adapter(tmp_path, tiny("wan").denoiser, replace(ALIGNED, denoiser=replace(ALIGNED.denoiser, source="other")))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"denoiser": Identity("wan", "wan-14b", "c" * 64)},
            r"for the denoiser wan data/wan \(e+\), not for wan wan-14b",
        ),
        (
            {"pairing": replace(PAIRING, generator=Identity("wan", "other", "c" * 64))},
            r"for the generator wan data/wan \(a+\), not for wan other \(c",
        ),
        (
            {"pairing": replace(PAIRING, network=Identity("vggt", "vggt-1b", "d" * 64))},
            r"for the 3D network anysplat .*, not for vggt vggt-1b \(d+\); allowed",
        ),
    ],
)
def test_an_adapter_of_other_networks_is_one_sentence(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    saved(tmp_path)
    denoiser = tiny("wan").denoiser
    with pytest.raises(ValueError, match=sentence) as refused:
        load_adapter(tmp_path, denoiser, replace(ALIGNED, **change))
    assert "\n" not in str(refused.value)
    assert low_rank(denoiser) == []


def test_another_decoder_is_allowed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path)
    with caplog.at_level(logging.WARNING):
        load_adapter(tmp_path, tiny("wan").denoiser, replace(ALIGNED, decoder="0" * 64, point="encoder.01"))
    (message,) = caplog.messages
    assert "another decoder (entered at encoder.03) than this one (at encoder.01)" in message
    caplog.clear()
    load_adapter(tmp_path, tiny("wan").denoiser, Aligned(ALIGNED.pairing, ALIGNED.denoiser))
    assert caplog.messages == []


def test_adapters_without_the_file_are_plain_ones(tmp_path: Path) -> None:
    """Those of an earlier version and of other programs; also the way to try an adapter elsewhere on purpose."""
    denoiser = saved(tmp_path / "own")
    shutil.copytree(tmp_path / "own", tmp_path / "plain", ignore=shutil.ignore_patterns(FILE))
    assert read_artifact(tmp_path / "plain") is None
    other = tiny("wan").denoiser
    load_adapter(tmp_path / "plain", other, replace(ALIGNED, denoiser=Identity("wan", "other", "0" * 64)))
    assert all(torch.equal(a, b) for a, b in zip(low_rank(denoiser), low_rank(other), strict=True))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (lambda text: text[:-20], r"adapter\.json is not JSON: .*; allowed: the file as it was written"),
        (lambda text: json.dumps(json.loads(text) | {"format": 2}), r"format 2; allowed: 1 \(a newer version made it"),
        (lambda text: "[]", r"adapter\.json: format None; allowed: 1"),
    ],
)
def test_a_damaged_or_newer_file_is_one_sentence(text: Any, sentence: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / FILE).write_text(text((tmp_path / FILE).read_text()))
    with pytest.raises(ValueError, match=sentence):
        load_adapter(tmp_path, tiny("wan").denoiser, ALIGNED)
