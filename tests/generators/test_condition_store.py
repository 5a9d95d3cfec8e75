"""Embedded texts as files: by content and encoder, embedded once and alone, padding restored, the encoder released."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_generators import public_pipeline, tiny

from vist3a.generators.base import VideoGenerator
from vist3a.generators.condition_store import ConditionStore, encoder_identity
from vist3a.records import Condition
from vist3a.runtime.workers.settings import WorkerSettings

TEXTS = ["a red ball", "the green cube on the floor", ""]


class Loader:
    """Counts how often the encoder is asked for."""

    def __init__(self, kind: str) -> None:
        self.kind, self.loaded = kind, 0
        self.last: VideoGenerator | None = None

    def __call__(self) -> VideoGenerator:
        self.loaded += 1
        self.last = tiny(self.kind)
        return self.last


@pytest.mark.parametrize("kind", ["wan", "cogvideox", "hunyuan_video"])
def test_what_is_read_is_what_the_encoder_gave(kind: str, tmp_path: Path) -> None:
    store, load = ConditionStore(tmp_path, "encoder"), Loader(kind)
    assert store.fill([*TEXTS, TEXTS[0]], load) == 3
    assert load.last is not None
    assert load.last.text_encoder is None
    generator = tiny(kind)
    with torch.no_grad():
        expected = Condition.cat([generator.embed([text]) for text in TEXTS])
    found = store(TEXTS)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor)
    assert all(torch.equal(store([text])["text"], found["text"][i : i + 1]) for i, text in enumerate(TEXTS))


def test_a_text_is_embedded_once_and_zeros_are_not_stored(tmp_path: Path) -> None:
    load = Loader("wan")
    assert ConditionStore(tmp_path, "encoder").fill(TEXTS[:2], load) == 2
    assert ConditionStore(tmp_path, "encoder").fill(TEXTS, load) == 1
    assert ConditionStore(tmp_path, "encoder").fill(TEXTS, load) == 0
    assert load.loaded == 2
    assert ConditionStore(tmp_path, "another encoder").fill(TEXTS[:1], load) == 1
    store = ConditionStore(tmp_path, "encoder")
    # Three words and the end: half of the eight tokens.
    assert store.path(TEXTS[2]).stat().st_size < store.path(TEXTS[0]).stat().st_size
    assert store(TEXTS[:1])["text"].shape == (1, 8, 8)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".safetensors"] * 4


def test_workers_write_the_files_of_one_process(tmp_path: Path) -> None:
    alone, shared = ConditionStore(tmp_path / "alone", "encoder"), ConditionStore(tmp_path / "shared", "encoder")
    alone.fill(TEXTS, partial(tiny, "wan"))
    assert shared.fill(TEXTS, partial(tiny, "wan"), WorkerSettings(kind="processes", count=2)) == 3
    for text in TEXTS:
        assert shared.path(text).read_bytes() == alone.path(text).read_bytes()


def test_names_cannot_leave_the_folder_and_missing_texts_are_named(tmp_path: Path) -> None:
    store = ConditionStore(tmp_path, "encoder")
    assert store.path("../../etc/passwd").parent == tmp_path
    with pytest.raises(KeyError, match="'a blue cone' has no embedding"):
        store(["a blue cone"])


def test_another_encoder_is_another_identity(tmp_path: Path) -> None:
    public_pipeline(tiny("wan")).save_pretrained(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first = encoder_identity(str(tmp_path / "a"), None, "float32", 8)
    assert first == encoder_identity(str(tmp_path / "b"), None, "float32", 8)
    assert first != encoder_identity(str(tmp_path / "a"), None, "bfloat16", 8)
    # Another denoiser reads the same texts; another encoder does not.
    shutil.rmtree(tmp_path / "b" / "transformer")
    assert first == encoder_identity(str(tmp_path / "b"), None, "float32", 8)
    tiny("wan", seed=9).text_encoder.save_pretrained(tmp_path / "b" / "text_encoder")
    assert first != encoder_identity(str(tmp_path / "b"), None, "float32", 8)


def test_a_hub_encoder_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    refs = tmp_path / "models--owner--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0123456789abcdef")
    assert encoder_identity("owner/name", None) == "owner/name@0123456789abcdef"


def test_conditions_are_joined_and_divided_by_rows() -> None:
    one = Condition({"text": torch.zeros(1, 2, 3), "mask": torch.ones(1, 2)})
    three = one.rows(3)
    assert (len(three), three["text"].shape) == (3, (3, 2, 3))
    assert three.rows(3) is three
    assert len(Condition.cat([one, three])) == 4
    assert [len(part) for part in three.split()] == [1, 1, 1]
    with pytest.raises(ValueError, match="a condition of 3 samples cannot serve 2"):
        three.rows(2)
    with pytest.raises(ValueError, match="tensors of one number of rows"):
        Condition({"text": torch.zeros(1, 2), "mask": torch.zeros(2, 2)})
    with pytest.raises(ValueError, match="different generators"):
        Condition.cat([one, Condition({"text": torch.zeros(1, 2, 3)})])
