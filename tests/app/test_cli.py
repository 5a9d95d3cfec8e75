"""What a user reads when something is wrong: one sentence, and a traceback only where the program is at fault."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import tiny_project
import torch
from click.testing import CliRunner
from kedro.io import DatasetError
from pydantic import BaseModel, ConfigDict

from vist3a.pairing import generator_place
from vist3a.weights.weight_files import read_config
from vist3a_app.cli import _spoken, cli
from vist3a_app.datasets.json_report import JsonReport
from vist3a_app.hooks.tracking_settings import TrackingSettings
from vist3a_app.sentences import sentence


def caught(call: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as raised:
        call()
    return raised.value


def raising(package: str, body: str) -> Callable[[], Any]:
    """A function ``go`` of a module of that name."""
    module = ModuleType(f"{package}.part")
    exec(f"def go():\n    {body}", module.__dict__)  # the place of a raise is what counts
    call: Callable[[], Any] = module.__dict__["go"]
    return call


class Typed(BaseModel):
    """Parameters of the next test."""

    model_config = ConfigDict(extra="forbid")
    steps: int


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: generator_place("nothing"), "networks.generator.source: nothing is no folder"),
        (lambda: read_config(Path("/proc/none")), "/proc/none holds no config.json"),
        (lambda: Typed(steps="x", stepps=3), "Typed: steps: Input should be a valid integer, unable to parse"),
        (lambda: TrackingSettings(urii="x"), "TrackingSettings: urii: Extra inputs are not permitted"),
        (raising("vist3a", "raise ValueError('three clips are needed')"), "three clips are needed"),
        (raising("vist3a", "raise RuntimeError('another run is writing')"), "another run is writing"),
        (raising("kedro", "raise ValueError('no pipeline of that name')"), "no pipeline of that name"),
        (
            raising("vist3a", "raise OSError(28, 'No space left on device', 'data/x')"),
            "No space left on device: 'data/x'",
        ),
        (
            raising("anything", "raise PermissionError(13, 'Permission denied', 'data/x')"),
            "Permission denied: 'data/x'",
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(call: Callable[[], Any], told: str) -> None:
    found = sentence(caught(call))
    assert found is not None and told in found and "\n" not in found


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.zeros(2) @ torch.zeros(3),
        raising("vist3a", "import torch; torch.zeros(2) @ torch.zeros(3)"),
        raising("vist3a", "int('x')"),
        raising("vist3a", "{}['x']"),
        raising("vist3a", "None.x"),
        raising("vist3a", "raise TypeError('wrong kind of argument')"),
        raising("vist3a", "raise KeyError('x')"),
        raising("vist3a", "assert False"),
        raising("vist3a", "open('/proc/none/x')"),
        raising("elsewhere", "raise ValueError('of another package')"),
        raising("vist3android", "raise ValueError('of another package')"),
    ],
)
def test_faults_of_the_program_are_none(call: Callable[[], Any]) -> None:
    assert sentence(caught(call)) is None


def test_a_dataset_tells_what_it_was_told(tmp_path: Path) -> None:
    """Kedro wraps whatever a dataset raises; the wrapped error decides."""
    missing = caught(JsonReport(filepath=str(tmp_path / "none.json")).load)
    assert isinstance(missing, DatasetError) and "none.json" in str(sentence(missing))
    broken = DatasetError("Failed while saving")
    broken.__cause__ = caught(raising("vist3a", "{}['x']"))
    assert sentence(broken) is None
    broken.__cause__ = caught(raising("vist3a", "raise ValueError('no table')"))
    assert sentence(broken) == "Failed while saving"


def test_the_command_ends_with_the_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    go = raising("vist3a", "raise ValueError('three clips are needed')")
    command = _spoken(click.Command("run", callback=go))
    told = CliRunner().invoke(command)
    assert (told.exit_code, told.output) == (1, "Error: three clips are needed\n")
    monkeypatch.setenv("VIST3A_TRACEBACK", "1")
    assert isinstance(CliRunner().invoke(command).exception, ValueError)
    monkeypatch.setenv("VIST3A_TRACEBACK", "0")
    assert CliRunner().invoke(command).output == "Error: three clips are needed\n"
    assert set(cli.commands) == {"run"}, "kedro run is this one"


def vist3a(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vist3a_app", *words],
        cwd=folder,
        env=tiny_project.environment(VIST3A_TRACKING="off", **variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_away_from_a_checkout_there_is_help(tmp_path: Path) -> None:
    asked = vist3a(tmp_path, "run", "--help")
    assert asked.returncode == 0 and asked.stderr == ""
    assert "--params" in asked.stdout and "VIST3A_TRACEBACK=1" in asked.stdout
    commands = vist3a(tmp_path, "--help")
    assert commands.returncode == 0 and commands.stderr == ""
    for name in ("generate", "reconstruct", "layers", "stitch", "rehearse", "export", "view", "serve", "doctor", "run"):
        assert f"\n  {name} " in commands.stdout
    refused = vist3a(tmp_path, "--pipelines=score")
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"Error: {tmp_path} is no project (it has no pyproject.toml with [tool.kedro]); run this in a checkout of vist3a"
    ]


def test_a_run_ends_with_the_sentence(tmp_path: Path) -> None:
    tiny_project.create(tmp_path)
    refused = vist3a(tmp_path, "--params=tinny.act=fail")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("Error: unknown parameter group 'tinny'; allowed: tiny")
    asked = vist3a(tmp_path, "--params=tinny.act=fail", VIST3A_TRACEBACK="1")
    assert asked.returncode == 1 and "Traceback (most recent call last)" in asked.stderr
    older = vist3a(tmp_path, "--pipeline=score")
    assert (
        older.returncode == 0 and "deprecated" not in older.stderr and (tmp_path / "reports" / "score.json").is_file()
    )
    both = vist3a(tmp_path, "--pipeline=score", "--pipelines=rest")
    assert both.returncode != 0 and "cannot be used together" in both.stderr and "Traceback" not in both.stderr
    below = vist3a(tmp_path / "conf", "--pipelines=score")
    assert f"run this in the checkout {tmp_path}" in below.stderr and "Traceback" not in below.stderr


MISTAKES = {
    "pipeline": (("--pipelines=scroe",), "--pipelines: 'scroe'; allowed: ", "did you mean 'score'?"),
    "group": (("--params=scoer.point=x",), "unknown parameter group 'scoer'; allowed: ", "did you mean 'score'?"),
    "key": (("--params=generate.stepps=3",), "generate: unknown key 'stepps'; did you mean 'steps'? allowed: "),
    "nested key": (
        ("--params=align.loop.stpes=3",),
        "align: unknown key 'loop.stpes'; did you mean 'steps'? allowed: ",
    ),
    "value": (("--params=generate.steps=0",), "generate.steps: Input should be greater than 0 (it is 0)"),
    "two values": (
        ("--params=generate.steps=few,score.ridges=3",),
        "generate.steps: Input should be a valid integer, unable to parse string as an integer (it is 'few')",
        "score.ridges: Input should be a valid tuple (it is 3)",
    ),
    "frames": (
        ("--params=generate.frames=12", "--pipelines=generate"),
        "generate.frames: 12 frames: generator wan takes",
    ),
    "environment": (("--env=smok",), "env: 'smok' is no folder of ", "allowed: gpu, publish, short, smoke"),
    "pair": (("--params=pair=wan+nothing",), "pair: 'nothing' of wan+nothing; allowed 3D networks: anysplat"),
    "preset": (("--params=preset=nothing",), "preset: 'nothing'; allowed: paper, released"),
    "device": (("--params=networks.device=gpu", "--pipelines=generate"), "device: 'gpu'; allowed: auto, cpu, cuda"),
    "stage not run": (
        ("--pipelines=extract",),
        "data/03_primary/clip_index.parquet is missing; `kedro run --pipelines=curate` makes it",
    ),
    "generator": (
        ("--params=networks.generator.source=/nowhere/at",),
        "networks.generator.source: /nowhere/at is no folder",
    ),
    "network": (
        ("--params=networks.reconstruction.source=nothing",),
        "networks.reconstruction.source: nothing is no folder with config.json",
    ),
    "prompts": (
        ("--pipelines=generate", "--params=generate.prompts_file=/nowhere"),
        "generate.prompts_file: /nowhere does not exist; allowed: a text file with one prompt per line, or null",
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configuration and small networks of this repository, and nothing made with them."""
    repository = Path(__file__).resolve().parents[2]
    embedded = repository / "data" / "06_models" / "embedded"
    if not (embedded / "generator").is_dir():
        pytest.skip("the embedded networks are not here; `make setup` fetches them from the repository")
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(repository / "conf", root / "conf")
    shutil.copy(repository / "pyproject.toml", root)
    shutil.copytree(repository / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data" / "06_models").mkdir(parents=True)
    (root / "data" / "06_models" / "embedded").symlink_to(embedded)
    return root


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_of_a_run_are_one_line(mistake: str, project: Path) -> None:
    """``kedro run`` is the same command. The error is the last line, with nothing of a traceback or of pydantic before it."""
    words, *sentences = MISTAKES[mistake]
    done = vist3a(project, "run", *words)
    assert done.returncode == 1, done.stderr
    *before, told = done.stderr.splitlines()
    assert told.startswith("Error: ") and all(sentence in told for sentence in sentences), done.stderr
    assert not [line for line in before if "Traceback" in line or "pydantic" in line or "Error" in line], before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("generate", ""), "generate.prompt is empty; give a text"),
        (("generate", "qwrt zzxx"), "the generator knows no word of this prompt"),
        (("generate", "a red ball", "--steps", "0"), "generate.steps: Input should be greater than 0 (it is 0)"),
        (("generate", "a red ball", "--pair", "wan"), "pair: 'wan'; allowed: GENERATOR+NETWORK, as wan+vggt"),
        (("generate", "a red ball"), "aligned_generator holds no adapter_config.json"),
        (("layers", "--clips", "conf"), "source folder conf: "),
        (("serve", "--model", "nowhere"), "nowhere is no vist3a project: it has no conf/base (and no bundle of one"),
        (("serve", "--model", "."), "stitched_decoder is missing; `make stitch` in "),
        (("serve",), "no store sqlite:///mlflow.db here; allowed: a generator that"),
        (("serve", "--port", "99999"), "--port 99999: "),
        (("reconstruct", "pyproject.toml"), "found no video and no image ("),
        (("doctor", "--pair", "foo+vggt"), "pair: 'foo' of foo+vggt; allowed generators: anyflow, cogvideox, embedded"),
    ],
)
def test_mistakes_of_commands_are_one_line(words: tuple[str, ...], sentence: str, project: Path) -> None:
    done = vist3a(project, *words)
    assert done.returncode == 1, done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith("Error: ") and sentence in told, done.stderr
    assert "Traceback" not in done.stderr and "pydantic" not in done.stderr
