"""The benchmark of geometry rewards runs on tiny networks, and geometry alone costs less time and memory there, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def test_geometry_alone_is_cheaper_than_pictures(tmp_path: Path) -> None:
    script, out = REPOSITORY / "benchmarks" / "geometry_rewards.py", tmp_path / "result.json"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--tiny", "--repeats", "2", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    medians, ratios = found["medians"], found["ratios"]
    for row in medians.values():
        assert row.keys() == {"step", "rollout", "reward", "gradient", "generative", "memory"}
        assert all(value > 0 for value in row.values())
    assert ratios["reward"] == pytest.approx(medians["geometry"]["reward"] / medians["full"]["reward"])
    # Frames, renderings and scorers are what the reward takes most for.
    assert ratios["reward"] < 1 and ratios["memory"] < 0.5
    assert "geometry / full:" in done.stdout
