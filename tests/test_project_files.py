"""Files that others look for in a project: workflows, templates, hooks, notebooks without results."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / ".ci"))
import command_checks  # noqa: E402  isort: skip
import stripped_notebooks  # noqa: E402  isort: skip

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def steps(workflow: Path) -> list[dict[str, Any]]:
    told = yaml.safe_load(workflow.read_text())
    return [step for job in told["jobs"].values() for step in job["steps"]]


def test_checks_are_those_of_this_repository_on_every_python() -> None:
    told = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "checks.yml").read_text())
    assert told["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert {".ci/run", "make docs", "make wheel"} <= {step.get("run") for step in steps(WORKFLOWS[0])}
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_steps_of_workflows_exist(workflow: Path) -> None:
    for step in steps(workflow):
        assert "run" in step or re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
        for command in re.findall(r"^make .*$", step.get("run", ""), re.MULTILINE):
            assert list(command_checks.problems(command)) == []


def test_a_release_needs_a_section_of_the_changelog() -> None:
    assert re.search(rf"^## {re.escape(PROJECT['version'])}$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("template", ["problem", "idea"])
def test_templates_ask_something(template: str) -> None:
    told = yaml.safe_load((REPOSITORY / ".github" / "ISSUE_TEMPLATE" / f"{template}.yml").read_text())
    assert {"name", "description", "body"} <= told.keys()
    assert all(part["attributes"]["label"] for part in told["body"])


def test_hooks_of_pre_commit_are_valid_and_fetch_nothing() -> None:
    config = REPOSITORY / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", str(config)], check=True, timeout=60)
    repositories = yaml.safe_load(config.read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    scripts = [word for hook in repositories[0]["hooks"] for word in hook["entry"].split() if word.startswith(".ci/")]
    assert scripts and all((REPOSITORY / script).is_file() for script in scripts)


def test_notebooks_have_no_results(tmp_path: Path) -> None:
    for notebook in (REPOSITORY / "notebooks").glob("*.ipynb"):
        assert list(stripped_notebooks.results(notebook)) == []
    told = json.loads(next((REPOSITORY / "notebooks").glob("*.ipynb")).read_text())
    cell = next(number for number, cell in enumerate(told["cells"]) if cell["cell_type"] == "code")
    told["cells"][cell]["execution_count"] = 1
    (tmp_path / "run.ipynb").write_text(json.dumps(told))
    assert list(stripped_notebooks.results(tmp_path / "run.ipynb")) == [
        f"{tmp_path / 'run.ipynb'}: cell {cell + 1} has results; allowed: a notebook without (Edit, Clear outputs of all cells)"
    ]
