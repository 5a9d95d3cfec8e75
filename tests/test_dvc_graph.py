"""``dvc.yaml`` says again what the Kedro pipelines and the imports say; these tests close the gap."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import project_config
import pytest
import yaml

from vist3a_app import fingerprints

ALL: dict[str, dict[str, Any]] = yaml.safe_load((project_config.REPOSITORY / "dvc.yaml").read_text())["stages"]
STAGES = {name: stage for name, stage in ALL.items() if name != "fingerprints"}
FROZEN = ["pretrain", "validate_embedded", "layer_study", "claims", "alignment_study"]


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
        assert stage["cmd"] == f"kedro run --pipelines={name} --env=publish"


def test_only_what_concerns_new_embedded_networks_is_frozen() -> None:
    frozen = [name for name, stage in STAGES.items() if stage.get("frozen")]
    assert frozen == FROZEN


@pytest.mark.parametrize("name", FROZEN)
def test_a_clone_has_all_that_frozen_stages_made(name: str) -> None:
    """`dvc repro` does not run them, so their outputs are committed to git, or to the remote inside the repository."""
    locked = yaml.safe_load((project_config.REPOSITORY / "dvc.lock").read_text())["stages"][name]["outs"]
    hashes = {out["path"]: out["md5"] for out in locked}
    for item in [*STAGES[name].get("outs", []), *STAGES[name].get("metrics", []), *STAGES[name].get("plots", [])]:
        path, options = next(iter(item.items())) if isinstance(item, dict) else (item, {})
        if options.get("cache") is False:
            assert committed(path), f"{path} is neither committed nor in the remote"
        else:
            assert options.get("push", True), f"no clone can have {path}"
            missing = [md5 for md5 in contents(hashes[path]) if not committed(in_remote(md5))]
            assert not missing, f"dvc push {name}"


def committed(path: str) -> bool:
    """In git, or, where there is no git (an archive), among the files."""
    if not (project_config.REPOSITORY / ".git").exists():
        return (project_config.REPOSITORY / path).is_file()
    listed = subprocess.run(
        ["git", "ls-files", path], cwd=project_config.REPOSITORY, capture_output=True, text=True, check=True
    )
    return listed.stdout.split() == [path]


def test_the_remote_has_no_superseded_objects() -> None:
    """Of networks that were replaced; they stay in the history, and `make remote` takes them out of the tree."""
    locked = yaml.safe_load((project_config.REPOSITORY / "dvc.lock").read_text())["stages"]["pretrain"]["outs"]
    named = {in_remote(md5) for out in locked for md5 in contents(out["md5"])}
    found = (project_config.REPOSITORY / "dvc_remote").rglob("*")
    assert {str(path.relative_to(project_config.REPOSITORY)) for path in found if path.is_file()} == named


def in_remote(md5: str) -> str:
    return f"dvc_remote/files/md5/{md5[:2]}/{md5[2:]}"


def contents(md5: str) -> list[str]:
    """A file's hash, or that of a folder's list with those of the files in it."""
    if not md5.endswith(".dir"):
        return [md5]
    listed = json.loads((project_config.REPOSITORY / in_remote(md5)).read_text())
    return [md5, *(entry["md5"] for entry in listed)]


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
    assert data - made == {f"data/fingerprints/{name}.txt"}, f"no stage makes {data - made}"
    assert not any(path.startswith(("src/", "conf/")) for path in dependencies), "the fingerprint says it"


@pytest.mark.parametrize("name", project_config.STAGES)
def test_the_fingerprint_knows_the_entries_of_the_catalog(name: str) -> None:
    found = fingerprints.catalog_entries(project_config.REPOSITORY, name, STAGES[name]).keys()
    # The folder of all embedded networks is one dependency.
    assert {entry for entry in project_config.stage(name).entries if not entry.startswith("embedded_")} <= found


@pytest.mark.parametrize("name", project_config.STAGES)
def test_parameters_are_those_of_the_pipeline(name: str) -> None:
    stage = project_config.stage(name)
    listed = {(file, key) for item in STAGES[name]["params"] for file, keys in item.items() for key in keys}
    # Who does the work changes no result.
    expected = {(file, key) for key in stage.parameters - {"workers"} for file in project_config.files_with(key)}
    expected |= {("conf/base/globals.yml", key) for key in project_config.globals_used(stage.parameters)}
    if name != "pretrain":
        expected.add(("conf/base/determinism.yml", "determinism"))
    assert listed == expected


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


PARAMETERS = sorted(
    {file for stage in STAGES.values() for item in stage["params"] for file in item} - {project_config.SHARED}
)


@pytest.mark.parametrize("file", PARAMETERS)
def test_dvc_can_set_parameters(file: str, tmp_path: Path) -> None:
    """As `dvc exp run --set-param` does. What it is not told to change keeps its value."""
    from dvc.utils.hydra import apply_overrides

    copy = Path(shutil.copy(project_config.REPOSITORY / file, tmp_path))
    expected = yaml.safe_load(copy.read_text())
    path = first_value(expected)
    apply_overrides(copy, [f"{'.'.join(path)}=41"])
    inner = expected
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = 41
    assert yaml.safe_load(copy.read_text()) == expected


def first_value(values: dict[str, Any]) -> tuple[str, ...]:
    """Where the first value that is no group stands."""
    key, value = next(iter(values.items()))
    return (key, *first_value(value)) if isinstance(value, dict) else (key,)
