"""The whole chain on the shipped networks, at smoke size, in a copy of the project: reports, repeatability, assets, bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS = REPOSITORY / "data" / "06_models" / "embedded"
REPORTS = ("curate", "extract", "score", "distill", "align", "evaluate")


def kedro(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VIST3A_TRACKING": "off", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "kedro", "run", "--env=smoke", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (WEIGHTS / "generator").is_dir():
        pytest.skip("the embedded networks are not here; `make setup` fetches them from the repository")
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(REPOSITORY / "conf", root / "conf")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    shutil.copytree(REPOSITORY / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data" / "06_models").mkdir(parents=True)
    (root / "data" / "06_models" / "embedded").symlink_to(WEIGHTS)
    return root


@pytest.fixture(scope="module")
def chain(project: Path) -> Path:
    """The project after one run of the chain."""
    result = kedro(project, "--pipeline=stitch")
    assert result.returncode == 0, result.stderr[-3000:]
    return project


def reports(project: Path) -> dict[str, str]:
    return {name: (project / "reports" / f"{name}.json").read_text() for name in REPORTS}


def test_the_chain_writes_its_reports(chain: Path) -> None:
    read = {name: json.loads(text) for name, text in reports(chain).items()}
    points = read["score"]["points"]
    assert read["score"]["chosen"] in points
    assert points[read["score"]["chosen"]]["complete"]
    for point in points.values():
        assert point["r2_low"] <= point["r2_heldout"] <= point["r2_high"]
        assert len(point["r2_frames"]) == 13
        assert 0 <= point["cka"] <= 1
    functional = read["score"]["functional_error"]
    assert {"depth_absrel", "rotation_deg", "points", "rendered_l1"} <= functional[read["score"]["chosen"]].keys()
    assert 'src="data:image/png;base64,' in (chain / "reports" / "score.html").read_text()
    assert {"first", "last"} <= read["align"].keys()
    terms = {"reward/text_decoded", "reward/text_rendered", "reward/consistency_l1", "reward/consistency_perceptual"}
    assert terms <= read["align"]["first"].keys()
    assert {"before", "after"} <= read["distill"].keys()
    assert "judge/total" in read["evaluate"]["generation"]


def test_the_same_command_gives_the_same_reports(chain: Path) -> None:
    before = reports(chain)
    result = kedro(chain, "--pipeline=stitch")
    assert result.returncode == 0, result.stderr[-3000:]
    assert reports(chain) == before


def test_the_layer_study_reports(project: Path) -> None:
    result = kedro(project, "--pipeline=layer_study")
    assert result.returncode == 0, result.stderr[-3000:]
    report = json.loads((project / "reports" / "layer_study.json").read_text())
    assert {row["point"] for row in report["distilled"]} == {"encoder.00", "encoder.05"}
    assert all(set(point["r2"]) == {"501", "502"} for point in report["curve"].values())
    page = (project / "reports" / "layer_study.md").read_text()
    assert all(sentence in page for sentence in report["statement"])
    assert (project / "reports" / "layer_study.png").is_file()


def test_generate_writes_assets_and_says_where(chain: Path) -> None:
    result = kedro(chain, "--pipeline=generate", "--params=generate.prompt=a green cube in ../../a white room")
    assert result.returncode == 0, result.stderr[-3000:]
    folder = chain / "data" / "07_model_output" / "generated" / "a-green-cube-in-a-white-room-0"
    assert "a-green-cube-in-a-white-room-0" in result.stderr
    written = {path.name for path in folder.iterdir()}
    assert {"gaussians.ply", "points.ply", "depth.npz", "transforms.json", "turntable.mp4", "scene.png"} <= written


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--params=score.pont=encoder.00",), "pont"),
        (("--params=scoer.point=encoder.00",), "did you mean 'score'"),
        (("--params=score.point=encoder.99",), "score.point='encoder.99': no such candidate; allowed: encoder.00"),
        (("--params=score.point=aggregator.frame.03",), "cannot be entered with a stitch layer alone"),
        (("--params=networks.device=cuda",), "no usable CUDA device"),
        (("--params=networks.generator.family=sora",), "allowed: wan"),
    ],
)
def test_bad_input_is_one_clear_sentence(chain: Path, arguments: tuple[str, ...], sentence: str) -> None:
    import torch

    if "cuda" in arguments[0] and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    before = (chain / "reports" / "score.json").read_text()
    result = kedro(chain, "--pipeline=score", *arguments)
    assert result.returncode != 0
    assert sentence in result.stderr
    assert (chain / "reports" / "score.json").read_text() == before
