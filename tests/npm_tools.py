"""Readers of others from npm; what needs them is skipped where they are not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

VIEWER = Path(__file__).resolve().parents[1] / "viewer"


def _node(*arguments: str, needs: str) -> str:
    node = shutil.which("node")
    if node is None or not (VIEWER / "node_modules" / needs).is_dir():
        pytest.skip(f"node with {needs} is not here; `npm ci --ignore-scripts` in viewer/ installs it")
    done = subprocess.run(
        [node, *arguments],
        cwd=VIEWER,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def splat_transform(*arguments: str | Path) -> None:
    """Run ``splat-transform`` of PlayCanvas."""
    package = "@playcanvas/splat-transform"
    _node(f"node_modules/{package}/bin/cli.mjs", "-w", "-q", *map(str, arguments), needs=package)


def gltf_issues(path: Path) -> dict[str, Any]:
    """What the Khronos validator says of a GLB."""
    found: dict[str, Any] = json.loads(_node("validate.mjs", str(path), needs="gltf-validator"))
    return found
