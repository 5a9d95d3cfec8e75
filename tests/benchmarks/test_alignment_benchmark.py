"""The benchmark of an alignment step rehearses at tiny size: both sides have the same gradient."""

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
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "alignment.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_both_sides_have_one_gradient(tmp_path: Path) -> None:
    done = run("--tiny", "--repeats", "1", "--out", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "figures.json").read_text())
    own = report["ours"]["eager"]
    # Single precision: what is left of the difference comes from the order of sums.
    assert own["cosine"] == pytest.approx(1, abs=1e-5)
    assert own["cosine_same_rollout"] == pytest.approx(1, abs=1e-5)
    assert report["plain"]["step"] > 0
    assert set(report["plain"]["parts"]) == {"generative", "rollout", "reward", "backward"}
    assert report["passed"] == ["eager"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tiny", "--repeats", "0"], "--repeats 0; allowed: at least 1"),
        pytest.param(
            [],
            "no CUDA device here; --tiny rehearses on the CPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="one is"),
        ),
    ],
)
def test_what_cannot_run_is_one_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = run(*arguments, "--out", str(tmp_path / "figures.json"))
    assert done.returncode == 1
    assert done.stderr.strip() == sentence
