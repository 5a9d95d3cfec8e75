"""What the README names exists: pipelines, parameters, make targets, files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / ".ci"))
import documented_commands  # noqa: E402  isort: skip

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"--pipelines=([a-z_]+)", README))))
def test_pipelines_exist(name: str) -> None:
    houses = [REPOSITORY / "src" / house / "pipelines" / name for house in ("vist3a_app", "vist3a_lab")]
    assert name == "stitch" or any((house / "pipeline.py").is_file() for house in houses)


KEYS = set(re.findall(r"(?<![/\w])((?:curate|generate|score|align|evaluate)\.[a-z_]+)(?==|`)", README))
REPORTS = (".json", ".png", ".html")


@pytest.mark.parametrize("key", sorted(key for key in KEYS if not key.endswith(REPORTS)))
def test_parameters_exist(key: str) -> None:
    group, name = key.split(".")
    values = yaml.safe_load((REPOSITORY / "conf" / "base" / "parameters" / f"{group}.yml").read_text())
    assert name in values[group]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_linked_files_exist(link: str) -> None:
    assert (REPOSITORY / link).is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"benchmarks/[a-z0-9_]+\.py", README))))
def test_benchmarks_exist(path: str) -> None:
    assert (REPOSITORY / path).is_file()


def test_every_benchmark_is_named() -> None:
    assert [path.name for path in (REPOSITORY / "benchmarks").glob("*.py") if path.name not in README] == []


COMMANDS = [command.text for command in documented_commands.documented()]


def test_every_command_of_the_documents_is_found() -> None:
    assert {"make stitch", "dvc repro", "make ui", "kedro run --pipelines=claims", "kedro --help"} <= set(COMMANDS)
    assert any(text.startswith("curl http://127.0.0.1:5001/invocations -H") and "prompt" in text for text in COMMANDS)
    assert "kedro run --pipelines=curate --params=curate.order=similarity" in COMMANDS
    assert any(text.startswith("import vist3a") for text in COMMANDS)
    with pytest.raises(ValueError, match=r"--surprise=1`: an option of which command"):
        list(documented_commands.commands_in("Say `--surprise=1` for more."))


def test_what_is_said_of_commands_is_of_ones_that_are_there() -> None:
    """No reason, value or server outlives its command, and no placeholder is left in what is run."""
    for table in (documented_commands.NOT_RUN, documented_commands.SERVERS):
        for start in table:
            assert any(text.startswith(start) for text in COMMANDS), start
    for placeholder in documented_commands.VALUES:
        assert any(placeholder in text for text in COMMANDS), placeholder
    for command in documented_commands.documented():
        if not command.not_run and not command.python:
            assert not re.search(r"/path/to|[<>]|\b[A-Z]{4,}\b(?!=)", command.to_run), command.to_run
    assert documented_commands.DOCUMENTED_PORT in README
