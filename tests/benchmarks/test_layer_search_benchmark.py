"""The benchmark that needs a GPU for its figures runs at tiny size without one, and its own check passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_layer_search_runs_tiny(tmp_path: Path) -> None:
    script, out = REPOSITORY / "benchmarks" / "layer_search.py", tmp_path / "result.json"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--tiny", "--device", "cpu", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert max(result["check"].values()) < 1e-8
    assert result["bars"].keys() == {"speed-up", "host GiB", "encoder / forward", "all blocks / forward"}
    # 2 x 2 tokens of 16 channels in half precision, 5 views, 3 blocks, 11 clips.
    assert result["public"]["host_gib"] * 2**30 == 2 * 2 * 16 * 2 * 5 * 3 * 11
