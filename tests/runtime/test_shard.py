"""Two processes that share the frozen weights train as one that holds them all, and each holds about half."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_networks import tiny_generator

from vist3a.adapters.lora import load_lora
from vist3a.runtime.launch import ALONE
from vist3a.runtime.shard import shard_frozen

TESTS = Path(__file__).resolve().parents[1]
GPUS = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=GPUS)])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The device and the folder that ``shard_driver.py`` filled there."""
    folder = tmp_path_factory.mktemp(request.param)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")])
    driver = str(TESTS / "runtime" / "shard_driver.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", driver, str(folder), port, request.param],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return request.param, folder


def checkpoint(folder: Path, name: str) -> dict[str, Any]:
    """A checkpoint, by the restricted loader: it holds plain tensors."""
    state: dict[str, Any] = torch.load(folder / f"{name}.pt", weights_only=True, map_location="cpu")
    return state


def found(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", ["sharded", "resumed"])
def test_sharded_or_resumed_by_one_the_training_is_that_of_one(trained: tuple[str, Path], name: str) -> None:
    one, other = checkpoint(trained[1], "one"), checkpoint(trained[1], name)
    assert other["step"] == one["step"] == 3
    assert other["parameters"].keys() == one["parameters"].keys()
    assert all(".lora_" in key for key in other["parameters"])
    # What the optimiser saw, and the averaged weights.
    states = [[s["exp_avg"] for s in c["optimizers"][0]["state"].values()] + c["average"] for c in (one, other)]
    assert len(states[0]) == 2 * len(one["parameters"])
    for alone, shared in zip(*states, strict=True):
        assert float(alone.norm()) > 0
        assert float((shared - alone).norm()) <= 1e-9 * float(alone.norm())


def test_each_process_holds_about_half(
    trained: tuple[str, Path], record_property: Callable[[str, object], None]
) -> None:
    held = [result["held"] for result in found(trained[1])]
    assert sum(part["here"] for part in held) == held[0]["all"] == held[1]["all"] > 0
    assert all(part["here"] < 0.52 * part["all"] for part in held)
    # On GPUs, bytes of a large denoiser: beside its half, a process holds a few of 16 blocks at a time.
    for rank, result in enumerate(found(trained[1])):
        if trained[0] == "cuda":
            memory = result["memory"]
            record_property(f"memory of process {rank}", memory)
            assert memory["sharded"] < 0.55 * memory["whole"]
            assert memory["peak"] < 0.85 * memory["whole"]


def test_the_adapter_is_saved_whole(trained: tuple[str, Path]) -> None:
    adapter = load_file(trained[1] / "sharded" / "adapter_model.safetensors")
    average = checkpoint(trained[1], "sharded")["average"]
    assert sorted(float(p.norm()) for p in adapter.values()) == pytest.approx(
        sorted(float(p.norm()) for p in average), rel=1e-12
    )
    load_lora(tiny_generator().denoiser, trained[1] / "sharded")


def test_every_generator_answers_as_before(trained: tuple[str, Path]) -> None:
    for result in found(trained[1]):
        assert set(result["changes"]) == {"wan", "wan compiled", "cogvideox", "cogvideox-rotary", "hunyuan_video"}
        # Kernels of GPUs may add in any order.
        assert max(result["changes"].values()) <= (0.0 if trained[0] == "cpu" else 2e-2), result["changes"]


def test_one_process_keeps_all() -> None:
    denoiser = tiny_generator().denoiser
    before = dict(denoiser.named_parameters())
    shard_frozen(denoiser, ALONE)
    after = dict(denoiser.named_parameters())
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
