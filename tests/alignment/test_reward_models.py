"""Scorers and the perceptual distance by name: through weights.yml, found, checked, refused in one sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_files import TINY_PUBLIC, write_public, write_tokenizer
from huggingface_hub import constants

from vist3a.alignment.reward_models import load_perceptual, load_scorer
from vist3a.scorers.clip_sizes import CLIP_SIZES
from vist3a.weights.known import KnownWeights
from vist3a.weights.public import PublicWeights, forget_licences, licences_used, locate, parse_rewards
from vist3a_lab.scorers import DualEncoder, DualEncoderConfig

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cache of the hub, and no way out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    forget_licences()
    yield
    forget_licences()


def published() -> dict[str, PublicWeights]:
    return dict(KnownWeights.read().rewards)


def test_every_entry_has_sizes_and_what_it_needs() -> None:
    entries = published()
    assert {entry.config for entry in entries.values()} == {*CLIP_SIZES, "clip-tokenizer", "lpips-vgg", "lpips-linear"}


def test_a_folder_is_a_dual_encoder(tmp_path: Path) -> None:
    DualEncoder(DualEncoderConfig("conv", 8, 1, 1, ("a",), image_size=16, conv_channels=(8,))).save_pretrained(tmp_path)
    assert isinstance(load_scorer(str(tmp_path), "align.reward_scorer", CPU, torch.float32, {}), DualEncoder)


@pytest.mark.parametrize("name", ["hps-v2.1", "pickscore-v1", "dfn5b-clip-h-14-378"])
def test_a_missing_file_is_one_sentence(name: str, caplog: pytest.LogCaptureFixture) -> None:
    entries = published()
    with (
        caplog.at_level(logging.INFO, "vist3a"),
        pytest.raises(
            FileNotFoundError,
            match=rf"{entries[name].repo}/{entries[name].file}@main is not in the cache .*forbids to download",
        ) as refused,
    ):
        load_scorer(name, "align.reward_models.x", CPU, torch.float32, entries)
    assert "\n" not in str(refused.value)
    assert name in licences_used()
    unknown = entries[name].commercial is None
    assert [record.levelname for record in caplog.records] == ["WARNING" if unknown else "INFO"]


def test_a_copy_on_this_machine_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLIP_SIZES, "pickscore-v1", TINY_PUBLIC)
    entries = published()
    entries["pickscore-v1"] = replace(entries["pickscore-v1"], path=str(write_public(tmp_path)))
    entries["clip-tokenizer"] = replace(entries["clip-tokenizer"], path=str(write_tokenizer(tmp_path / "t.json")))
    scorer = load_scorer("pickscore-v1", "align.reward_models.pick", CPU, torch.float32, entries)
    scores = scorer.score(torch.rand(2, 3, 40, 40), scorer.embed_text(["a red ball", "the cube"]))
    assert bool((scores.abs() <= 1).all())
    wrong = replace(entries["pickscore-v1"], sha256="0" * 64)
    with pytest.raises(
        ValueError, match=r"model.safetensors: its sha256 is [0-9a-f]{64}; allowed by weights.yml: 0{64}"
    ):
        load_scorer("pickscore-v1", "align.judge", CPU, torch.float32, {**entries, "pickscore-v1": wrong})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(
        FileNotFoundError, match=r"align.reward_scorer: nowhere is no folder .*; scorers: hps-v2.1, pick"
    ):
        load_scorer("nowhere", "align.reward_scorer", CPU, torch.float32, published())
    with pytest.raises(FileNotFoundError, match=r"lpips-vgg is no folder"):
        load_scorer("lpips-vgg", "align.reward_scorer", CPU, torch.float32, published())
    with pytest.raises(ValueError, match=r"align.perceptual: 'hps-v2.1'; allowed: lpips-vgg, or null"):
        load_perceptual("hps-v2.1", "align.perceptual", CPU, published())
    with pytest.raises(
        ValueError, match=r"align.perceptual: weights.yml has no entry lpips-vgg under rewards; entries: none"
    ):
        load_perceptual("lpips-vgg", "align.perceptual", CPU, {})


def test_a_file_of_a_package_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = replace(published()["lpips-linear"], package="vist3a_test_package", sha256=None)
    with pytest.raises(
        FileNotFoundError, match=r"weights/v0.1/vgg.pth of the Python package vist3a_test_package is not"
    ):
        locate(entry)
    package = tmp_path / "vist3a_test_package"
    (package / "weights" / "v0.1").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "weights" / "v0.1" / "vgg.pth").write_bytes(b"x")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate(entry) == package / "weights" / "v0.1" / "vgg.pth"


def test_wrong_entries_are_refused() -> None:
    good: dict[str, Any] = {"config": "c", "repo": "a/b", "file": "f", "licence": "MIT", "commercial": None}
    assert parse_rewards({"x": good})["x"].commercial is None
    with pytest.raises(ValueError, match=r"weights.yml: rewards: x: missing keys licence"):
        parse_rewards({"x": {key: value for key, value in good.items() if key != "licence"}})
