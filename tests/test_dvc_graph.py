"""``dvc.yaml`` says again what the Kedro pipelines and the imports say; these tests close the gap."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

import project_config
import project_graph
import pytest
import yaml

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((project_config.REPOSITORY / "dvc.yaml").read_text())["stages"]


def paths(items: Iterable[Any]) -> set[str]:
    """Paths of ``outs``, ``metrics`` and ``plots``, with or without options."""
    return {next(iter(item)) if isinstance(item, dict) else item for item in items}


def outputs(stage: dict[str, Any]) -> set[str]:
    return paths([*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])])


def covered(path: str, by: set[str]) -> bool:
    return any(PurePosixPath(path).is_relative_to(folder) for folder in by)


def test_one_stage_per_pipeline() -> None:
    assert tuple(STAGES) == project_config.STAGES
    for name, stage in STAGES.items():
        assert stage["cmd"] == f"kedro run --pipeline={name}"


def test_only_what_concerns_new_embedded_networks_is_frozen() -> None:
    frozen = [name for name, stage in STAGES.items() if stage.get("frozen")]
    assert frozen == ["pretrain", "validate_embedded", "layer_study", "claims", "alignment_study"]


@pytest.mark.parametrize("name", project_config.STAGES[1:])
def test_outputs_are_what_the_pipeline_saves(name: str) -> None:
    assert outputs(STAGES[name]) == project_config.stage(name).writes


def test_pretraining_gives_the_embedded_networks() -> None:
    saved = project_config.stage("pretrain").writes
    assert {path for path in saved if covered(path, outputs(STAGES["pretrain"]))} == {
        f"data/06_models/embedded/{part}" for part in ("generator", "reconstruction", "reward_scorer", "judge")
    }


@pytest.mark.parametrize("name", project_config.STAGES)
def test_inputs_are_dependencies(name: str) -> None:
    dependencies = set(STAGES[name]["deps"])
    missing = {path for path in project_config.stage(name).reads if not covered(path, dependencies)}
    assert missing == set()
    data = {path for path in dependencies if path.startswith("data/")}
    made = set().union(*(outputs(stage) for stage in STAGES.values()))
    assert data <= made, f"no stage makes {data - made}"
    assert f"conf/base/catalog/{name}.yml" in dependencies


@pytest.mark.parametrize("name", project_config.STAGES)
def test_parameters_are_those_of_the_pipeline(name: str) -> None:
    stage = project_config.stage(name)
    listed = {(file, key) for item in STAGES[name]["params"] for file, keys in item.items() for key in keys}
    files = project_config.parameter_files()
    expected = {(files[group], group) for group in stage.parameters}
    expected |= {("conf/base/globals.yml", key) for key in project_config.globals_used(stage.parameters)}
    if name != "pretrain":
        expected.add(("conf/base/determinism.yml", "determinism"))
    assert listed == expected


@pytest.mark.parametrize("name", project_config.STAGES)
def test_imported_code_is_a_dependency(name: str) -> None:
    listed = sorted(path for path in STAGES[name]["deps"] if path.startswith("src/"))
    needed = project_graph.code_of(name, project_config.stage(name).dataset_types)
    assert listed == needed, "run `make dvc-stages`"


@pytest.mark.parametrize("name", project_config.STAGES[1:])
def test_reports_are_committed_and_data_stays_out_of_the_repository(name: str) -> None:
    stage = STAGES[name]
    assert paths(stage["metrics"]) == {f"reports/{name.removeprefix('validate_')}.json"}
    for item in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]:
        path, options = next(iter(item.items()))
        if path.startswith("reports/"):
            assert options == {"cache": False}
        else:
            assert options == {"push": False}


def test_dvc_is_set_up_for_this_repository() -> None:
    text = (project_config.REPOSITORY / ".dvc" / "config").read_text()
    for line in ("analytics = false", "check_update = false", "autostage = false", 'type = "reflink,copy"'):
        assert line in text
    assert "url = ../dvc_remote" in text
    assert "__pycache__" in (project_config.REPOSITORY / ".dvcignore").read_text()
