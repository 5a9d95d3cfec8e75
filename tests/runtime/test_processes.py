"""Two processes take the very step of one: prompts, clips, noise, gradients, logs; what a share is; who goes first."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vist3a.runtime.launch import ALONE, Processes, started
from vist3a.runtime.processes import connected, first_one_first, joined, sum_over

TESTS = Path(__file__).resolve().parents[1]


def test_shares_are_the_whole() -> None:
    items = list(range(7))
    shares = [Processes(rank, 3).share(items) for rank in range(3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]
    assert ALONE.share(items) == items


def test_alone_nothing_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    value = torch.tensor([1.0, 2.0])
    with joined(torch.device("cpu")) as processes, first_one_first(processes):
        sum_over(processes, [value])
        assert (processes, connected(), started()) == (ALONE, ALONE, ALONE)
    assert value.tolist() == [1.0, 2.0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("how", "first", "second"),
    [
        ("works", "well", "well"),
        (
            "fails",
            "ValueError: of the first process",
            "RuntimeError: the first process failed before this one could go on",
        ),
    ],
)
def test_others_hear_of_the_first_process_failing(how: str, first: str, second: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(TESTS / "runtime" / "first_process_driver.py"), str(free_port()), how],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    ended = dict(json.loads(line) for line in done.stdout.splitlines())
    assert ended[0] == first and ended[1].startswith(second), (ended, done.stderr[-2000:])


def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    port = free_port()
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(TESTS / "runtime" / "processes_driver.py"), str(tmp_path), str(port)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    moments = [[state["exp_avg"] for state in c["optimizers"][0]["state"].values()] for c in (one, two)]
    assert len(moments[0]) == len(one["parameters"])
    for alone, shared in zip(*moments, strict=True):
        # Averages of the gradients: three prompts, of two rollouts each, are shared unequally by two processes.
        assert float(alone.norm()) > 0
        assert float((shared - alone).norm()) <= 1e-9 * float(alone.norm())
    # Both processes end with the same bits.
    assert torch.equal(*(torch.load(tmp_path / f"two-{rank}.pt", weights_only=True) for rank in range(2)))
    logs = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two")]
    assert logs[0].keys() == logs[1].keys() == {"1", "2"}
    for step, row in logs[0].items():
        kept = {name: value for name, value in row.items() if not name.startswith("seconds/")}
        assert {
            "reward/total",
            "reward_gradient/text_rendered",
            "reward/diversity",
            "reward_gradient_norm",
            "generative_loss",
        } <= kept.keys()
        # Latents, and with them the norms of gradients there, are float32.
        assert {name: logs[1][step][name] for name in kept} == pytest.approx(kept, rel=1e-6)
