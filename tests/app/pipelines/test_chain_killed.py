"""Runs of every part of the chain, killed at random moments and started again, end with the bits of undisturbed ones.

Nothing half-written stands under its final name at any time, nothing of the killed runs stays, and the record says KILLED: at
once where the process could still say so (SIGTERM), else with the next run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_chain import RECONSTRUCTIONS, SIZES, chosen, create

REPOSITORY = Path(__file__).resolve().parents[3]
CHAIN = ("curate", "extract", "score", "distill", "align", "evaluate", "generate")
LOOP = {"steps": 12, "learning_rate": 1.0e-3, "warmup": 1, "log_every": 1, "checkpoint_every": 2}


def kills(tmp_path: Path, seed: int, each: int, pipelines: tuple[str, ...]) -> list[list[str]]:
    """Rows of the driver's table."""
    whole, before = tmp_path / "whole", Path.cwd()
    whole.mkdir()
    os.chdir(whole)  # paths of the catalog start there
    try:
        create(whole, ["wan"], [RECONSTRUCTIONS["anysplat"]])
    finally:
        os.chdir(before)
    values = chosen(whole, "wan", "anysplat")
    values["curate"] = {**SIZES, "procedural": {"scenes": 8}}
    values["extract"] |= {"shard": 1}
    values["score"] |= {"functional_points": 0}
    values["distill"] |= {"loop": LOOP}
    values["align"] |= {"loop": LOOP}
    (tmp_path / "run.yml").write_text(yaml.safe_dump({"run": {"params": values}}))
    shutil.copy(REPOSITORY / "pyproject.toml", whole)
    (whole / "src").mkdir()
    shutil.rmtree(whole / "data", ignore_errors=True)
    shutil.copytree(whole, tmp_path / "killed")
    path = [str(REPOSITORY / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    driver = Path(__file__).with_name("chain_kill_driver.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(driver), str(tmp_path), str(seed), str(each), *pipelines, "--", "--env=smoke",
         f"--config={tmp_path / 'run.yml'}"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "VIST3A_TRACKING": "on", "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip
    table = [line for line in done.stdout.splitlines() if line.startswith(("kill |", "done |"))]
    sys.stdout.write("\n".join(table) + "\n")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len([line for line in table if line.startswith("done")]) == len(pipelines)
    return [[cell.strip() for cell in line.split("|")] for line in table if line.startswith("kill")]


def test_a_kill_of_each_kind_changes_nothing(tmp_path: Path) -> None:
    rows = kills(tmp_path, 2, 2, ("curate",))
    assert [row[2] for row in rows] == ["SIGKILL", "SIGTERM"]


@pytest.mark.long
def test_fifty_kills_change_nothing(tmp_path: Path) -> None:
    rows = kills(tmp_path, 1, 8, CHAIN)
    assert len(rows) >= 50
    assert len([row for row in rows if row[4] != "0"]) >= 40, "most runs were over before they could be killed"
