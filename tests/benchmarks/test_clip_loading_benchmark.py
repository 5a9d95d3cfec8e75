"""The ways to load clips give the same bytes, whatever their speed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_way_gives_the_same_clips() -> None:
    command = [
        sys.executable,
        str(REPOSITORY / "benchmarks" / "clip_loading.py"),
        "--clips",
        "3",
        "--batch",
        "2",
        "--work",
        "0",
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:-1]] == [
        "our thread",
        *(f"DataLoader, {n} worker processes" for n in range(3)),
    ]
    assert lines[-1] == "the same bytes in the same order"
