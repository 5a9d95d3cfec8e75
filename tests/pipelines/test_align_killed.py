"""An alignment that is killed at random steps and started again ends with the very weights and reports of an undisturbed one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_chain import RECONSTRUCTIONS, chosen, create, run

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 9
# Everything that has a state: optimiser, average, watch, terms that only some steps have, ranges.
TRAINING = {
    "prompts": 5,
    "prompts_per_step": 2,
    "clips_per_step": 2,
    "variant": "released",
    "denoising_steps": [2, 4],
    "guidance": [1.5, 4.0],
    "term_gradients_every": 4,
    "watch": {"judge_every": 5, "previews_every": 5},
    "loop": {"steps": STEPS, "learning_rate": 1e-3, "warmup": 3, "ema": 0.9, "log_every": 1, "checkpoint_every": 2},
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two equal projects with a stitched decoder, and the parameters of the run."""
    whole = tmp_path / "whole"
    whole.mkdir()
    monkeypatch.chdir(whole)
    create(whole, ["wan"], [RECONSTRUCTIONS["anysplat"]])
    values = chosen(whole, "wan", "anysplat")
    for pipeline in ("extract", "score", "distill"):
        run(whole, pipeline, values)
    judge = tmp_path / "judge"
    shutil.copytree(whole / "networks" / "scorer", judge)
    values["align"] |= {**TRAINING, "watch": {**TRAINING["watch"], "judge": str(judge)}}
    (tmp_path / "run.yml").write_text(yaml.safe_dump({"run": {"params": values}}))
    shutil.copy(REPOSITORY / "pyproject.toml", whole)
    (whole / "src").mkdir()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole, tmp_path / "killed")
    return tmp_path


def test_two_kills_do_not_change_a_bit(root: Path) -> None:
    driver = Path(__file__).with_name("align_kill_driver.py")
    arguments = ["--pipeline=align", "--env=smoke", f"--config={root / 'run.yml'}"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(driver), str(root), "5", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "VIST3A_TRACKING": "off", "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kills = [line.split() for line in done.stdout.splitlines() if line.startswith(("killed", "finished"))]
    assert [ended for ended, _ in kills] == ["killed"] * 2
    assert 0 < int(kills[0][1]) < int(kills[-1][1]) < STEPS
    whole, killed = root / "whole", root / "killed"
    for name in (
        "data/06_models/aligned_generator/adapter_model.safetensors",
        "reports/align.json",
        "reports/align.parquet",
    ):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    report = json.loads((whole / "reports" / "align.json").read_text())
    assert {"watch/judge/total", "reward_gradient/text_decoded"} <= report["last"].keys()
    # Nothing of the unfinished state is left.
    assert not [*killed.rglob("align-*/loop.pt*")]
