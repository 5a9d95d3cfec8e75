"""Published weights: found in order, checked, read without executing, refused in one sentence; their licence is told."""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from reconstruction_cases import FAMILIES, build
from safetensors.torch import save_file
from torch import Tensor

from vist3a import registry
from vist3a.networks.anysplat import AnySplat
from vist3a.networks.template import EnterableNetwork
from vist3a.pairing import load_reconstruction
from vist3a.weights.public import PublicWeights, forget_licences, licences_used, locate, parse, use_licence
from vist3a.weights.weight_files import load_strictly, read_config, read_tensors, save_folder

CPU = torch.device("cpu")
ENTRY = PublicWeights(
    config="tiny", repo="owner/name", file="sub/model.safetensors", licence="CC-BY-NC-4.0", commercial=False
)
PREFIXES = {"vggt": "", "anysplat": "encoder.", "depth_anything3": "model.", "mvdust3r": ""}


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of the hub, and no way out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    forget_licences()
    yield tmp_path / "hub"
    forget_licences()


def cached(hub: Path, weights: PublicWeights) -> Path:
    """Where a downloaded file lies; the folders and the reference are made."""
    folder = hub / f"models--{weights.repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / weights.revision).write_text("0123456789abcdef")
    path = folder / "snapshots" / "0123456789abcdef" / weights.file
    path.parent.mkdir(parents=True)
    return path


def published(family: str) -> dict[str, Tensor]:
    """A small network's state dict as its authors would publish it, their unread layers included."""
    kind = {"depth_anything3": "da3-giant", "mvdust3r": "mvdust3r-plus"}.get(family, family)
    extra = {
        "vggt": {"track_head.surplus": torch.zeros(1)},
        "anysplat": {"encoder.distill_camera_head.surplus": torch.zeros(1)},
        "depth_anything3": {"model.head.scratch.output_conv1_aux.0.0.weight": torch.zeros(1)},
        "mvdust3r": {"mask_token": torch.zeros(1)},
    }
    state = {f"{PREFIXES[family]}{key}": value.contiguous() for key, value in build(kind).float().state_dict().items()}
    return state | extra[family]


def small(family: str) -> Any:
    return build({"depth_anything3": "da3-giant", "mvdust3r": "mvdust3r-plus"}.get(family, family)).config


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes ``tiny`` the published size of a family."""

    def choose(family: str) -> None:
        monkeypatch.setattr(registry.find("networks", family), "published", {"tiny": small(family)})

    return choose


def write(path: Path, family: str, state: dict[str, Tensor]) -> Path:
    """MV-DUSt3R comes as the pickled state of a training, the others as safetensors."""
    if family != "mvdust3r":
        save_file(state, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    training = {
        "args": argparse.Namespace(lr=1e-4, model="net"),
        "model": state,
        "epoch": 3,
        "optimizer": {"lr": [0.1]},
    }
    torch.save(training, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


@pytest.mark.parametrize("family", FAMILIES)
def test_published_files_of_every_family_load(family: str, tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny(family)
    state = published(family)
    path = write(tmp_path / "file", family, state)
    network = load_reconstruction(family, str(path), config="tiny", dtype="float32", device=CPU)
    own = network.state_dict()
    assert all(torch.equal(value, state[PREFIXES[family] + key]) for key, value in own.items())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training
    half = load_reconstruction(family, str(path), config="tiny", dtype="bfloat16", device=CPU)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16, torch.float32}
    views = torch.rand(1, 4, 3, 12, 16)
    with torch.no_grad():
        points = [each.reconstruct(views).points for each in (network, half)]
    assert bool(points[0].isfinite().all())
    assert 0 < float((points[1] - points[0]).square().mean()) < 0.01 * float(points[0].square().mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_own_folders_of_every_family_load(family: str, tmp_path: Path) -> None:
    kind = {"depth_anything3": "da3-giant"}.get(family, family)
    build(kind).save_pretrained(tmp_path)
    network = load_reconstruction(family, str(tmp_path), dtype="float32", device=CPU)
    assert isinstance(network, EnterableNetwork)
    assert network.config == build(kind).config
    with pytest.raises(ValueError, match=r"config: 'tiny' for .*no checkpoint file"):
        load_reconstruction(family, str(tmp_path), config="tiny", dtype="float32", device=CPU)
    other = "vggt" if family != "vggt" else "anysplat"
    with pytest.raises(ValueError, match=r"holds a .*, not a"):
        load_reconstruction(other, str(tmp_path), dtype="float32", device=CPU)


def test_a_named_entry_is_found_in_the_cache(
    hub: Path, tiny: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    tiny("vggt")
    save_file(published("vggt"), cached(hub, ENTRY))
    with caplog.at_level(logging.INFO, logger="vist3a"):
        for _ in range(2):
            load_reconstruction("vggt", "net", dtype="float32", device=CPU, public={"net": ENTRY})
    told = [(record.levelname, record.message) for record in caplog.records]
    assert told == [("WARNING", "weights net: licence CC-BY-NC-4.0 (no commercial use)")]
    assert licences_used() == {"net": "CC-BY-NC-4.0 (no commercial use)"}
    forget_licences()
    assert licences_used() == {}


def test_a_free_licence_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="vist3a"):
        use_licence("net", "Apache-2.0", True)
        use_licence("file", "not known", None)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "weights net: licence Apache-2.0"),
        ("WARNING", "weights file: licence not known"),
    ]


def test_a_given_path_comes_before_the_cache_and_the_cache_before_the_hub(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str]] = []

    def download(repo: str, file: str, revision: str) -> str:
        asked.append((repo, file, revision))
        return str(tmp_path / "downloaded")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    given = tmp_path / "given.safetensors"
    given.touch()
    assert locate(ENTRY) == tmp_path / "downloaded"
    assert asked == [("owner/name", "sub/model.safetensors", "main")]
    path = cached(hub, ENTRY)
    path.touch()
    assert locate(ENTRY) == path
    assert locate(replace(ENTRY, path=str(given))) == given
    assert len(asked) == 1
    with pytest.raises(FileNotFoundError, match=r"path .*nowhere is no file; allowed: a copy of owner/name/sub/model"):
        locate(replace(ENTRY, path=str(tmp_path / "nowhere")))


def test_offline_and_missing_is_one_sentence(hub: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        locate(ENTRY)
    assert str(caught.value) == (
        f"owner/name/sub/model.safetensors@main is not in the cache {hub} and HF_HUB_OFFLINE forbids to download it: allow "
        "that, or give a copy of the file as `path` in weights.yml"
    )


def test_a_failed_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(
        FileNotFoundError, match=r"could not be downloaded \(ConnectionError: no route\): try again"
    ) as caught:
        locate(ENTRY)
    assert "\n" not in str(caught.value)


def test_a_known_hash_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(b"right")
    digest = hashlib.sha256(b"right").hexdigest()
    entry = replace(ENTRY, path=str(path), sha256=digest)
    assert locate(entry) == path
    path.write_bytes(b"wrong!")
    with pytest.raises(
        ValueError, match=rf"file.safetensors: its sha256 is [0-9a-f]{{64}}; allowed by weights.yml: {digest}"
    ):
        locate(entry)


def without(state: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name != key}


def refusal(path: Path, family: str = "vggt") -> str:
    """The one sentence with which a checkpoint is refused."""
    with pytest.raises(ValueError) as caught:
        load_reconstruction(family, str(path), config="tiny", dtype="float32", device=CPU)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    assert "; allowed: " in sentence
    return sentence


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_tensors_are_named(family: str, tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny(family)
    state, prefix = published(family), PREFIXES[family]
    key = next(name for name, value in state.items() if value.ndim > 1)
    bare = key.removeprefix(prefix)
    total = len(build({"depth_anything3": "da3-giant", "mvdust3r": "mvdust3r-plus"}.get(family, family)).state_dict())
    sentence = refusal(write(tmp_path / "missing", family, without(state, key)), family)
    assert sentence.endswith(f"1 missing: {bare}; allowed: exactly its {total} tensors")
    sentence = refusal(write(tmp_path / "shape", family, state | {key: torch.zeros(7)}), family)
    assert f"1 of wrong shape: {bare} (7,) instead of {tuple(state[key].shape)};" in sentence
    sentence = refusal(write(tmp_path / "more", family, state | {f"{prefix}surplus": torch.zeros(1)}), family)
    assert "1 unexpected: surplus;" in sentence


@pytest.mark.parametrize("family", FAMILIES)
def test_another_network_is_refused(family: str, tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny(family)
    other = "depth_anything3" if family != "depth_anything3" else "mvdust3r"
    sentence = refusal(write(tmp_path / "other", other, published(other)), family)
    assert "missing: " in sentence
    assert "unexpected: " in sentence
    assert len(sentence) < 2000


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
@pytest.mark.parametrize("family", ["vggt", "mvdust3r"])
def test_truncated_files_are_refused(family: str, keep: int, tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny(family)
    path = write(tmp_path / "file", family, published(family))
    path.write_bytes(path.read_bytes()[:keep])
    assert f"{path}: truncated, or no" in refusal(path, family)


class Malicious:
    """Unpickled by an ordinary loader, this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("place", ["alone", "beside", "inside"])
def test_code_in_a_pickle_is_refused_and_not_run(place: str, tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny("mvdust3r")
    target, path = tmp_path / "executed", tmp_path / "file.pth"
    bad, state = Malicious(target), published("mvdust3r")
    torch.save(
        {"alone": bad, "beside": {"model": state, "args": bad}, "inside": {"model": state | {"x": bad}}}[place], path
    )
    assert "names code in its pickle: posix.mkdir (nothing was executed)" in refusal(path, "mvdust3r")
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists(), "this file does nothing bad, so that the test shows nothing"


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_bare_pickle_is_refused_and_not_run(suffix: str, tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny("vggt")
    target, path = tmp_path / "executed", tmp_path / f"file{suffix}"
    path.write_bytes(pickle.dumps({"model": Malicious(target)}))
    refusal(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"epoch": 3, "args": None}, "holds a dict of epoch, args;"),
        ([torch.zeros(1)], "holds <class 'list'>;"),
        ({"model": {"key": 1}}, "holds a dict of model;"),
    ],
)
def test_files_without_a_state_dict_are_refused(
    content: Any, found: str, tmp_path: Path, tiny: Callable[[str], None]
) -> None:
    tiny("vggt")
    torch.save(content, tmp_path / "file.pt")
    assert found in refusal(tmp_path / "file.pt")


def test_a_checkpoint_in_the_old_format_of_torch_is_refused(tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny("vggt")
    torch.save(published("vggt"), tmp_path / "file.pt", _use_new_zipfile_serialization=False)
    assert "not written by torch.save in its present format" in refusal(tmp_path / "file.pt")


def test_other_suffixes_are_refused(tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny("vggt")
    (tmp_path / "file.bin").touch()
    assert ".bin; allowed: .safetensors, .pt, .pth" in refusal(tmp_path / "file.bin")


def test_unknown_names_list_the_allowed_ones(tmp_path: Path) -> None:
    def load(family: str, source: str, **options: Any) -> None:
        load_reconstruction(family, source, dtype="float32", device=CPU, **options)

    with pytest.raises(ValueError, match="'vgg'; allowed: vggt, anysplat, depth_anything3, mvdust3r"):
        load("vgg", "net")
    with pytest.raises(FileNotFoundError, match=r"vggt-2b is no folder .* and no entry of weights.yml; entries: a, b$"):
        load("vggt", "vggt-2b", public={"a": ENTRY, "b": ENTRY})
    path = tmp_path / "file.safetensors"
    path.touch()
    allowed = "allowed for family vggt: vggt-1b, vggt-1b-tracker"
    for config, found in ((None, "None"), ("vggt", "'vggt'"), ("anysplat", "family anysplat")):
        with pytest.raises(ValueError, match=rf"config of .*file.safetensors: {found}; {allowed}"):
            load("vggt", str(path), config=config)
    with pytest.raises(ValueError, match=r"weights.yml: net: config: family anysplat; allowed for family mvdust3r"):
        load("mvdust3r", "net", public={"net": replace(ENTRY, config="anysplat")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licens": "MIT"}, "weights.yml: net: unknown keys licens; allowed: config, repo"),
        ({"commercial": "no"}, "weights.yml: net: commercial is 'no'; allowed: true or false"),
        ({"sha256": "12ab"}, "weights.yml: net: sha256 is '12ab'; allowed: 64 small hexadecimal digits"),
        ({"revision": None}, "weights.yml: net: revision is None; allowed: a text"),
    ],
)
def test_entries_are_checked(change: dict[str, Any], message: str) -> None:
    entry = {"config": "anysplat", "repo": "a/b", "file": "c", "licence": "MIT", "commercial": True}
    assert parse({"net": entry}) == {"net": PublicWeights(**entry)}
    with pytest.raises(ValueError, match=message):
        parse({"net": entry | change})
    with pytest.raises(ValueError, match="missing keys licence; allowed: config"):
        parse({"net": {key: value for key, value in entry.items() if key != "licence"}})
    with pytest.raises(ValueError, match="net is 'a/b'; allowed: the keys config"):
        parse({"net": "a/b"})


def test_foreign_and_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no config.json: fetch the weights"):
        read_config(tmp_path)
    save_folder(tmp_path, {"hidden_size": 8}, {"a": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"its config.json is not ours \(no key network\)"):
        AnySplat.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"network": ')
    with pytest.raises(ValueError, match=r"config.json is not JSON"):
        AnySplat.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model.safetensors is missing"):
        read_tensors(tmp_path / "model.safetensors")


def test_folders_hold_what_was_saved(tmp_path: Path) -> None:
    state = {"w": torch.randn(3, 4).T, "n": torch.tensor(5)}
    save_folder(tmp_path, {"a": [1, 2]}, state, torch.float16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert read_config(tmp_path) == {"a": [1, 2]}
    found = read_tensors(tmp_path / "model.safetensors")
    assert torch.equal(found["w"], state["w"].half())
    assert found["n"].dtype == torch.int64
    module = torch.nn.Linear(3, 4)
    with pytest.raises(
        ValueError, match=r"^state dict does not fit Linear: 2 missing: weight, bias; 2 unexpected: n, w"
    ):
        load_strictly(module, found)
