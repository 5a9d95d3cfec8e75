"""Fingerprints of folders of weights: of what is in the files, not of how it happens to be written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vist3a.weights.artifact_file import code_version, read_artifact, weights_fingerprint, write_artifact

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}
METADATA = {"point": "encoder.05", "ridge": "0.1"}


def reordered(file: Path) -> None:
    """The same file with the metadata the other way round, as the library writes it at another time."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(reversed(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def test_the_order_of_metadata_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "stitch.safetensors"
    save_file(TENSORS, file, METADATA)
    before, content = weights_fingerprint(tmp_path), file.read_bytes()
    reordered(file)
    assert file.read_bytes() != content and torch.equal(load_file(file)["weight"], TENSORS["weight"])
    # Spaces at the end of the header, which fill it up, do not count either.
    assert weights_fingerprint(tmp_path) == before


def test_what_is_in_them_counts(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors", METADATA)
    found = {weights_fingerprint(tmp_path)}
    save_file(TENSORS | {"bias": torch.tensor([1.0, 1.5])}, tmp_path / "a.safetensors", METADATA)
    found.add(weights_fingerprint(tmp_path))
    save_file(TENSORS, tmp_path / "a.safetensors", METADATA | {"point": "encoder.06"})
    found.add(weights_fingerprint(tmp_path))
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    found.add(weights_fingerprint(tmp_path))
    assert len(found) == 4
    (tmp_path / "decoder.json").write_text("{}")
    assert weights_fingerprint(tmp_path) in found


@pytest.mark.parametrize("content", [b"", b"x" * 100, (2**60).to_bytes(8, "little") + b"{"])
def test_a_damaged_file_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a\.safetensors is no whole safetensors file; allowed: the file as it was written"
    ):
        weights_fingerprint(tmp_path)


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_artifact(tmp_path / "facts.json", 1) is None
    write_artifact(tmp_path / "facts.json", {"format": 1, "version": code_version()})
    assert read_artifact(tmp_path / "facts.json", 1) == {"format": 1, "version": code_version()}
    with pytest.raises(ValueError, match=r"facts\.json: format 1; allowed: 2"):
        read_artifact(tmp_path / "facts.json", 2)
