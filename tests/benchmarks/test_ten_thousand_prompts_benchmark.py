"""The benchmark of many prompts runs whole with a few, and nothing is done twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_a_few_prompts_are_stopped_twice_and_made_once(tmp_path: Path) -> None:
    script, out = REPOSITORY / "benchmarks" / "ten_thousand_prompts.py", tmp_path / "result.json"
    command = [sys.executable, "-W", "ignore", str(script), "--prompts", "9", "--kind", "processes", "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    result = json.loads(out.read_text())
    assert done.returncode == 0, (result["missed"], done.stderr[-2000:])
    first, second, last = result["runs"]
    # Each stop comes on the way, the second one later: how far is a matter of the machine.
    assert first["latents"] + first["scenes"] >= 4 and first["scenes"] < second["scenes"] < 9
    assert (last["latents"], last["scenes"], result["in the report"]) == (0, 9, 9)
    assert result["figures"]["twice"] == 0
    # 9 scenes of about 30 files, each at least a block of the disk.
    assert 9 * 30 * 4096 / 2 < result["figures"]["gigabytes"] * 1e9 < 9e6
