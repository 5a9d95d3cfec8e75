"""The networks compile without graph breaks, block by block and whole, and nothing changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from reconstruction_cases import KINDS

PROGRAM = Path(__file__).with_name("compile_networks.py")
TESTS = PROGRAM.parents[1]


@pytest.mark.parametrize(
    "kinds",
    [KINDS[:2], *(pytest.param(kinds, marks=pytest.mark.long) for kinds in (KINDS[2:4], KINDS[4:]))],
    ids=" ".join,
)
def test_compiled_networks_give_the_same(kinds: tuple[str, ...]) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])}
    command = [sys.executable, str(PROGRAM), *kinds]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
