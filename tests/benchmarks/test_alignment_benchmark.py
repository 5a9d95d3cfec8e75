"""The benchmark of the alignment step runs at tiny size without a GPU, and its own comparison of gradients passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def test_alignment_runs_tiny_and_both_steps_have_one_gradient(tmp_path: Path) -> None:
    script, out = REPOSITORY / "benchmarks" / "alignment.py", tmp_path / "result.json"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        str(script),
        "--tiny",
        "--repeats",
        "1",
        "--ways",
        "eager",
        "in-parts",
        "--out",
        str(out),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["passed"] == ["eager", "in-parts"]
    assert len(result["keep"]) == 3
    # Float32: only the order of sums differs.
    eager, in_parts = (result["ours"][way] for way in ("eager", "in-parts"))
    ways = [way[which] for way in (eager, in_parts) for which in ("cosines", "cosines_same_rollout")]
    for found in (*result["cosines"].values(), *ways):
        assert found == pytest.approx({"whole": 1.0, "reward": 1.0, "generative": 1.0}, abs=1e-4)
    assert result["plain"]["parts"].keys() == {"encoding", "generative", "rollout", "reward", "backward"}
    assert eager["met"].keys() == {"faster", "cosine"} == result["bars"].keys()
    assert "cosine, ours to plain" in done.stdout and "plain step" in done.stdout
