"""The package installs from what the repository says, anywhere."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def locked_by(name: str) -> list[str]:
    return [line for line in (REPOSITORY / name).read_text().splitlines() if not line.startswith("#")]


LOCK, TOOLS = locked_by("requirements.lock"), locked_by("requirements-dev.lock")


def test_the_lock_has_exact_versions_and_no_addresses() -> None:
    for lines in (LOCK, TOOLS):
        for line in lines:
            assert re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.!]+", line), line
        names = [line.partition("==")[0] for line in lines]
        assert sorted(names) == names


def test_the_locks_satisfy_the_declared_dependencies() -> None:
    """Those of a run without those of its developers, who have both."""
    run, tools = (dict(line.split("==") for line in lines) for lines in (LOCK, TOOLS))
    assert run.keys().isdisjoint(tools)
    extra = [text for name in ("dev", "docs") for text in PROJECT["optional-dependencies"][name]]
    for locked, wanted in ((run, PROJECT["dependencies"]), (run | tools, extra)):
        for text in wanted:
            requirement = Requirement(text)
            name = canonicalize_name(requirement.name)
            assert name in locked, f"{name} is not locked: run `make lock`"
            assert requirement.specifier.contains(locked[name]), f"{text} is locked at {locked[name]}: run `make lock`"
    assert run["torch"] == "2.13.0"
    # A run pays for none of these.
    assert {"pytest", "mypy", "ray"} <= tools.keys()


@pytest.mark.parametrize("name", ["diffusers", "transformers"])
def test_packages_whose_insides_are_used_have_an_upper_bound(name: str) -> None:
    (declared,) = (r for r in map(Requirement, PROJECT["dependencies"]) if r.name == name)
    assert any(bound.operator == "<" for bound in declared.specifier)
    assert re.search(rf"^NEWEST := .*\b{name}\b", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_licence() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_version_is_said_once() -> None:
    assert f'__version__ = "{PROJECT["version"]}"' in (REPOSITORY / "src" / "vist3a" / "__init__.py").read_text()


def test_no_telemetry() -> None:
    assert (REPOSITORY / ".telemetry").read_text().split() == ["consent:", "false"]


def test_tracked_files_are_small() -> None:
    """Weights and data belong to DVC; only its remote inside the repository may be large."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a repository")
    for name in filter(None, listed.stdout.split("\0")):
        path = REPOSITORY / name
        if path.is_file() and not name.startswith("dvc_remote/"):
            assert path.stat().st_size < 2_000_000, name
