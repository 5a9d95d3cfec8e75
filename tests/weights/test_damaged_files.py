"""A damaged file of a generator's folder is named; whole ones are not blamed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_generators import public_pipeline, tiny

from vist3a.generators.hub_folder import HubFolder
from vist3a.pairing import generator_place, load_generator
from vist3a.weights.damaged_files import damage, file_damage
from vist3a.weights.public import PublicGenerator
from vist3a.weights.weight_files import read_tensors

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4cac1962\nsize 5\n"
WEIGHTS = "transformer/diffusion_pytorch_model-00002-of-00006.safetensors"


@pytest.fixture
def wan(tmp_path: Path) -> Path:
    """A generator whose denoiser lies in six shards."""
    pipeline = public_pipeline(tiny("wan"))
    folder = tmp_path / "models" / "wan"
    pipeline.save_pretrained(folder)
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    pipeline.transformer.save_pretrained(folder / "transformer", max_shard_size="16KB")
    assert len(list((folder / "transformer").glob("*.safetensors"))) == 6
    return folder


def load(folder: Path, part: str = "denoiser") -> object:
    return load_generator(
        "wan",
        str(folder),
        revision=None,
        parts=["vae", part],
        dtype="float32",
        device=torch.device("cpu"),
        max_text_tokens=8,
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_whole_folders_are_whole(wan: Path) -> None:
    load(wan)
    load(wan, "text")
    assert all(damage(folder) is None for folder in wan.iterdir() if folder.is_dir())


@pytest.mark.parametrize(
    ("name", "part", "change", "told"),
    [
        (WEIGHTS, "denoiser", Path.unlink, " is missing: diffusion_pytorch_model.safetensors.index.json names it"),
        (WEIGHTS, "denoiser", cut, "it is cut short or damaged"),
        (WEIGHTS, "denoiser", lambda path: path.write_bytes(b"1234"), "is cut short, or no safetensors file (4 bytes)"),
        (WEIGHTS, "denoiser", lambda path: path.write_text(POINTER), "is a git-lfs pointer, not the file itself"),
        ("transformer/config.json", "denoiser", lambda path: path.write_text("{"), "is no JSON ("),
        (
            "vae/diffusion_pytorch_model.safetensors",
            "denoiser",
            lambda path: path.write_text(POINTER),
            "git-lfs pointer",
        ),
        ("text_encoder/model.safetensors", "text", cut, "it is cut short or damaged"),
        ("text_encoder/model.safetensors", "text", lambda path: path.write_text(POINTER), "git-lfs pointer"),
        ("tokenizer/tokenizer.json", "text", lambda path: path.write_text(POINTER), "git-lfs pointer"),
        ("tokenizer/tokenizer.json", "text", cut, "is no JSON ("),
        ("scheduler/scheduler_config.json", "denoiser", lambda path: path.write_text(POINTER), "git-lfs pointer"),
    ],
)
def test_the_damaged_file_is_named(
    wan: Path, name: str, part: str, change: Callable[[Path], object], told: str
) -> None:
    change(wan / name)
    with pytest.raises(ValueError, match=r"networks\.generator\.source: ") as caught:
        load(wan, part)
    assert str(wan / name) in str(caught.value) and told in str(caught.value)


@pytest.mark.parametrize("content", [[1], {}, {"weight_map": ["a"]}, {"weight_map": {"a": 1}}, {"weight_map": None}])
def test_an_index_that_names_no_files_is_named(wan: Path, content: object) -> None:
    index = wan / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps(content))
    assert (
        damage(index.parent)
        == f"{index} does not say which files hold the tensors; allowed: names of files by tensor, as weight_map"
    )
    with pytest.raises(ValueError, match=r"networks\.generator\.source: .*does not say which files hold the tensors"):
        load(wan)


def test_a_link_to_nothing_is_named(wan: Path) -> None:
    (wan / WEIGHTS).unlink()
    (wan / WEIGHTS).symlink_to(wan / "blobs" / "nothing")
    with pytest.raises(ValueError, match="is a link to nothing"):
        load(wan)


def test_another_error_stays_what_it_is(wan: Path) -> None:
    """A folder that is whole and does not fit is not called damaged."""

    class Broken:
        @staticmethod
        def from_pretrained(*_: object, **__: object) -> object:
            raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        HubFolder(str(wan)).network(Broken, "transformer")


def test_headers_of_any_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(3), "b": torch.zeros(0)}, path, {"format": "pt"})
    assert file_damage(path) is None
    path.write_bytes(path.read_bytes() + b"0")
    assert "should have" in str(file_damage(path))
    save_file({}, path)
    assert file_damage(path) is None
    for header in (b"[]", b'{"a": 1}', b"\xff\xff", b'{"a": {"data_offsets": [0]}}'):
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        assert "its header cannot be read" in str(file_damage(path))
    path.write_text(POINTER)
    with pytest.raises(ValueError, match=r"truncated, or no safetensors file .*git-lfs pointer"):
        read_tensors(path)
    (tmp_path / "config.json").write_text(json.dumps([1]))
    assert "holds no JSON object" in str(file_damage(tmp_path / "config.json"))


def test_a_file_is_no_id_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "wan.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"source: models/wan.safetensors is a file; allowed: a folder in diffusers' layout"
    ):
        generator_place("models/wan.safetensors")
    entry = PublicGenerator("owner/wan", "Apache-2.0", True, "float32", path="models/none")
    with pytest.raises(
        FileNotFoundError, match=r"generators: wan: path models/none is no folder; allowed: a copy of owner/wan"
    ):
        generator_place("wan", {"wan": entry})
