"""A public pairing that cannot work here is refused in one sentence before anything starts; a pairing of folders never is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import project_config
import pytest
import torch
from huggingface_hub import constants
from kedro.io import DataCatalog, MemoryDataset
from omegaconf import OmegaConf

from vist3a.weights import public as weights
from vist3a.weights.known import KnownWeights
from vist3a.weights.public import generator_is_here, is_here
from vist3a_app.hooks import public_pairing
from vist3a_app.hooks.public_pairing import PublicPairing

OWN = {
    "curate": {"source": "clips"},
    "align": {"prompts_file": "prompts.txt"},
    "evaluate": {"prompts_file": "prompts.txt", "judge": "pickscore-v1"},
    "generate": {"scorer": None},
}


COPIES: dict[str, Any] = {}
"""Weights that are on this machine, as ``weights.yml`` of a project names them."""


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No weights, and none to be fetched; each test says whether there is a GPU."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(project_config.REPOSITORY)
    yield
    COPIES.clear()


def gpu(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


def begin(pipeline: str, environment: str = "wan+anysplat", **changes: Any) -> None:
    """The hook as a run with these parameters calls it."""
    files = {**project_config.loader(environment)["parameters"]}
    given = OmegaConf.to_container(OmegaConf.merge(files, {"networks": {"weights": COPIES}}, changes))
    catalog = DataCatalog({"parameters": MemoryDataset(given)})
    PublicPairing().before_pipeline_run(project_config.pipelines()[pipeline], catalog)


def refusal(pipeline: str, environment: str = "wan+anysplat", **changes: Any) -> str:
    with pytest.raises(ValueError, match="Without any of this runs the embedded pairing") as caught:
        begin(pipeline, environment, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def everything_here(tmp_path: Path) -> None:
    """Copies of all weights on this machine."""
    (tmp_path / "file").touch()
    known = KnownWeights.read()
    COPIES["weights"] = {name: {"path": str(tmp_path / "file")} for name in known.networks}
    COPIES["generators"] = {name: {"path": str(tmp_path)} for name in known.generators}
    COPIES["rewards"] = {name: {"path": str(tmp_path / "file")} for name in known.rewards}


def test_without_gpu_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, False)
    start = time.monotonic()
    told = refusal("stitch", **OWN)
    assert time.monotonic() - start < 30
    assert told.startswith("wan-1.3b and anysplat cannot be run so: they need a GPU with CUDA, which is not here")
    assert "wan-1.3b (28.9 GB, licence Apache-2.0)" in told and "anysplat (4.8 GB, licence not stated" in told
    assert "hps-v2.1 (licence Apache-2.0)" in told and "clip-tokenizer" in told and "pickscore-v1" in told
    assert "are not here and cannot be fetched, as HF_HUB_OFFLINE forbids to download" in told
    assert "procedural world" not in told


def test_a_rehearsal_needs_the_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, False)
    told = refusal("rehearse")
    assert "need a GPU" in told and "weights" not in told and "procedural" not in told
    begin("rehearse", networks={"device": "cpu"})
    gpu(monkeypatch, True)
    begin("rehearse")


def test_prompts_and_clips_of_the_procedural_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu(monkeypatch, True)
    everything_here(tmp_path)
    begin("stitch", **OWN)
    begin("generate", **OWN)
    told = refusal("stitch", evaluate={"judge": "data/06_models/embedded/judge"})
    assert "GPU" not in told and "are not here" not in told
    for part in (
        "curate.source (allowed: a folder",
        "align.prompts_file null",
        "evaluate.prompts_file null",
        "evaluate.judge (",
    ):
        assert part in told
    assert "hps-v2.1, pickscore-v1, dfn5b-clip-h-14-378" in told
    for group, key, value in (
        ("curate", "source", "procedural"),
        ("align", "prompts_file", None),
        ("evaluate", "judge", "data/06_models/embedded/judge"),
    ):
        assert f"{group}.{key}" in refusal("stitch", **{**OWN, group: {**OWN[group], key: value}})
    # The judge of the overlays is a published one.
    assert "evaluate.judge" not in refusal("stitch")
    assert "curate.source" in refusal("curate")
    assert "generate.scorer (allowed: null)" in refusal(
        "generate", generate={"scorer": "data/06_models/embedded/reward_scorer"}
    )
    watch = {**OWN["align"], "watch": {"judge": "data/06_models/embedded/judge", "judge_every": 5}}
    assert "align.watch.judge" in refusal("align", align=watch)


@pytest.mark.parametrize("pipeline", ["stitch", "generate", "rehearse", "claims"])
def test_the_embedded_pairing_is_never_asked(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, False)
    begin(pipeline, "base")
    begin(pipeline, "smoke")


def test_folders_are_nobodys_business(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu(monkeypatch, False)
    folders = {"generator": {"source": str(tmp_path)}, "reconstruction": {"source": str(tmp_path)}}
    begin("stitch", networks=folders)
    told = refusal("extract", networks={**folders, "generator": {"source": "owner/generator"}})
    assert told.startswith("owner/generator cannot be run so: they need a GPU")


def test_every_pairing_is_refused_by_its_own_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each pairing that is shipped is refused for what it lacks, by the names of its own networks."""
    gpu(monkeypatch, True)
    for environment, names in (("svd+da3", "svd-xt and da3-giant"), ("hunyuan+vggt", "hunyuan-video and vggt-1b")):
        told = refusal("extract", environment)
        assert told.startswith(f"{names} cannot be run so: the weights ") and "GPU" not in told
    everything_here(tmp_path)
    begin("extract", "svd+da3")


def in_cache(hub: Path, repo: str, *names: str) -> None:
    snapshot = hub / f"models--{repo.replace('/', '--')}" / "snapshots" / "0123"
    for name in names:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).touch()
    (snapshot.parents[1] / "refs").mkdir(exist_ok=True)
    (snapshot.parents[1] / "refs" / "main").write_text("0123")


def test_what_the_cache_holds_is_here(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    entry = KnownWeights.read().networks["anysplat"]
    assert not is_here(entry)
    in_cache(hub, entry.repo, entry.file)
    assert is_here(entry)
    in_cache(hub, "a/wan", "vae/config.json", "vae/model.safetensors", "transformer/config.json")
    assert generator_is_here("a/wan", "main", ["vae"])
    assert not generator_is_here("a/wan", "main", ["vae", "transformer"]), "a download that was stopped"
    in_cache(hub, "a/wan", "transformer/model.safetensors")
    assert generator_is_here("a/wan", "main", ["vae", "transformer"])


def test_commercial_use_refuses_weights_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu(monkeypatch, True)
    everything_here(tmp_path)
    begin("extract", "wan+vggt", **OWN)
    with pytest.raises(
        ValueError, match=r"networks.commercial: the licences of vggt-1b \(.*\) permit no commercial use"
    ):
        begin("extract", "wan+vggt", networks={"commercial": True}, **OWN)
    begin("extract", "wan+da3", networks={"commercial": True, "reconstruction": {"source": "da3-base"}}, **OWN)


class Hub(BaseHTTPRequestHandler):
    """Answers as the class says."""

    status, asked = 404, 0

    def do_HEAD(self) -> None:
        type(self).asked += 1
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "told"), [(404, "the hub answers 404"), (403, "the hub answers 403")])
def test_what_a_hub_answers_is_told(status: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(Hub, "status", status)
    try:
        assert told in refusal("extract")
    finally:
        server.shutdown()
        server.server_close()


def test_a_hub_that_is_away_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    asked: list[str] = []

    def counted(repo: str, file: str, revision: str) -> str | None:
        asked.append(repo)
        return weights.why_not_downloaded(repo, file, revision)

    monkeypatch.setattr(public_pairing, "why_not_downloaded", counted)
    told = refusal("stitch", **OWN)
    assert "as the hub does not answer (" in told and len(asked) == 1
