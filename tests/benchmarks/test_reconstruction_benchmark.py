"""The benchmark of the published networks runs, and says in one sentence what it misses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "reconstruction.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_task_of_a_network_is_measured(tmp_path: Path) -> None:
    small = ("--device", "cpu", "--tiny", "--views", "2", "--size", "224", "--budget", "0", "--networks", "da3-small")
    done = run(*small, "--output", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    assert "no --public folder" in done.stdout
    measured = json.loads((tmp_path / "figures.json").read_text())["measured"]
    assert [row["task"] for row in measured] == ["reconstruct", "tokens encoder", "tokens aggregator"]
    assert all(row["seconds"] > 0 and row["peak"] is None for row in measured)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--device", "cpu", "--public", "nowhere"], "nowhere holds no vggt/models/vggt.py; allowed: "),
        pytest.param(
            [],
            "--device cuda: none here; allowed: ",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="one is"),
        ),
    ],
)
def test_what_is_missing_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
