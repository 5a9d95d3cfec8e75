"""What the README names exists: pipelines, parameters, make targets, files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"--pipeline=([a-z_]+)", README))))
def test_pipelines_exist(name: str) -> None:
    assert name == "stitch" or (REPOSITORY / "src" / "vist3a" / "pipelines" / name / "pipeline.py").is_file()


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
