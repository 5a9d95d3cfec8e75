"""What a user reads when something is wrong: one sentence, and a traceback only where the program is at fault."""

from __future__ import annotations

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
