"""An alignment that is killed at random steps and started again ends with the very weights and reports of an undisturbed one.

On a GPU sums over Gaussians have no fixed order, and an optimiser that divides by the size of gradients makes much of their last
bits: there the weights are as near as those of two undisturbed runs. And one that torchrun starts in two processes writes once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_chain import RECONSTRUCTIONS, chosen, create, run

REPOSITORY = Path(__file__).resolve().parents[3]
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
    "watch": {"judge_every": 5, "previews_every": 5, "films_every": 3},
    "loop": {"steps": STEPS, "learning_rate": 1e-3, "warmup": 3, "ema": 0.9, "log_every": 1, "checkpoint_every": 2},
}


ARGUMENTS = ["--pipelines=align", "--env=smoke"]


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, which must end well."""
    path = [str(REPOSITORY / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "VIST3A_TRACKING": "off", "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Equal projects with a stitched decoder, and the parameters of the run."""
    tmp_path, before = tmp_path_factory.mktemp("align"), Path.cwd()
    whole = tmp_path / "whole"
    whole.mkdir()
    os.chdir(whole)  # paths of the catalog start there
    create(whole, ["wan"], [RECONSTRUCTIONS["anysplat"]])
    values = chosen(whole, "wan", "anysplat")
    values["score"] = {"functional_points": 0}
    for pipeline in ("extract", "score", "distill"):
        run(whole, pipeline, values)
    judge = tmp_path / "judge"
    shutil.copytree(whole / "networks" / "scorer", judge)
    values["align"] |= {**TRAINING, "watch": {**TRAINING["watch"], "judge": str(judge)}}
    (tmp_path / "run.yml").write_text(yaml.safe_dump({"run": {"params": values}}))
    shutil.copy(REPOSITORY / "pyproject.toml", whole)
    (whole / "src").mkdir()
    os.chdir(before)
    for name in ("killed", "shared", "sharded", *(["twin"] if torch.cuda.is_available() else [])):
        shutil.copytree(whole, tmp_path / name)
    return tmp_path


def difference(one: Path, other: Path) -> float:
    """Of two adapters, each as one vector, relative to the first."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    a, b = (torch.cat([weights[name].flatten().double() for name in first]) for weights in (first, second))
    return float((a - b).norm() / a.norm())


@pytest.mark.long
def test_two_kills_change_nothing(root: Path) -> None:
    driver = Path(__file__).with_name("align_kill_driver.py")
    done = python(root, str(driver), str(root), "5", *ARGUMENTS, f"--config={root / 'run.yml'}")
    kills = [line.split() for line in done.stdout.splitlines() if line.startswith(("killed", "finished"))]
    assert [ended for ended, _ in kills] == ["killed"] * 2
    assert 0 < int(kills[0][1]) < int(kills[-1][1]) < STEPS
    whole, killed = root / "whole", root / "killed"
    adapter = "data/06_models/aligned_generator/adapter_model.safetensors"
    if torch.cuda.is_available():
        far, apart = (difference(whole / adapter, root / name / adapter) for name in ("killed", "twin"))
        sys.stdout.write(
            f"{torch.cuda.get_device_name()}: from the undisturbed run {far:.1e}, of two such {apart:.1e}\n"
        )
        assert far <= 3 * apart + 1e-6
    else:
        for name in (adapter, "data/08_reporting/align.json", "data/08_reporting/align.parquet"):
            assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    report = json.loads((whole / "data" / "08_reporting" / "align.json").read_text())
    assert {"watch/judge/total", "watch/motion", "reward_gradient/text_decoded"} <= report["last"].keys()
    assert (
        list(report["motion"]["by_step"]) == ["0", "3", "6", "9"]
        and str(report["kept_step"]) in report["motion"]["by_step"]
    )
    # Nothing of the unfinished state is left.
    assert not [*killed.rglob("align-*/loop.pt*")]


def test_two_processes_of_torchrun_write_once_whole_or_sharded(root: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "vist3a_app"]
    values = yaml.safe_load((root / "run.yml").read_text())
    align = values["run"]["params"]["align"]
    adapters = []
    for name in ("shared", "sharded"):
        align["shard"], align["loop"]["steps"] = name == "sharded", 2
        (root / "short.yml").write_text(yaml.safe_dump(values))
        project = root / name
        done = python(project, *torchrun, *ARGUMENTS, f"--config={root / 'short.yml'}")
        lines = (done.stdout + done.stderr).splitlines()
        for step in (1, 2):
            assert len([line for line in lines if f"align step {step}:" in line]) == 1
        adapters.append(load_file(project / "data/06_models/aligned_generator/adapter_model.safetensors"))
        report = json.loads((project / "data" / "08_reporting" / "align.json").read_text())
        assert report["steps"] == 2 and list(report["motion"]["by_step"]) == ["0", "2"]
        assert not [*project.rglob("align-*/loop.pt*")]
    shared, sharded = adapters
    assert shared.keys() == sharded.keys()
    for name, weight in shared.items():
        assert float((sharded[name] - weight).norm()) <= 1e-4 * float(weight.norm()), name
