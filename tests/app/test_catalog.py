"""The catalog names every file once, and every file that is opened by people is recorded."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import project_config
import pytest

ENTRIES = project_config.catalog()


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_entry(name: str) -> None:
    entry = ENTRIES[name]
    assert not entry.get("versioned"), "DVC owns versions"
    place = entry.get("filepath")
    if place is not None:
        assert place.startswith("data/") or name.startswith("published_"), f"{name}: {place} is outside of data/"
    tracking = (entry.get("metadata") or {}).get("tracking")
    assert tracking in {None, "metrics", "artifact", "model"}
    if place is not None and place.startswith("data/08_reporting/"):
        assert tracking, f"{name}: reports belong into the record of the run"


LAYERS = ("raw", "intermediate", "primary", "feature", "model input", "models", "model output", "reporting")


@pytest.mark.parametrize("name", sorted(ENTRIES.keys() - {"generated_folder", "rehearsal_folder", "text_embeddings"}))
def test_the_picture_of_the_pipelines_has_the_layers_of_the_folders(name: str) -> None:
    """Kedro-Viz draws data/01_raw first and reports last."""
    folder, inside = ENTRIES[name]["filepath"].split("/")[:2]
    expected = "reporting" if folder == "reports" else LAYERS[int(inside[:2]) - 1]
    assert ENTRIES[name]["metadata"]["kedro-viz"] == {"layer": expected}


@pytest.mark.parametrize("type_name", sorted({entry["type"] for entry in ENTRIES.values()}))
def test_dataset_types_exist(type_name: str) -> None:
    if type_name.startswith("vist3a."):
        module, _, name = type_name.rpartition(".")
        assert hasattr(import_module(module), name)


def test_no_two_entries_share_a_file() -> None:
    places = [entry["filepath"] for entry in ENTRIES.values() if "filepath" in entry]
    assert sorted(places) == sorted(set(places))


def test_every_entry_is_used() -> None:
    used = set().union(*(pipeline.datasets() for pipeline in project_config.pipelines().values()))
    assert set(ENTRIES) - used == set()


def test_inputs_of_the_chain_come_from_the_catalog_or_parameters() -> None:
    for name, pipeline in project_config.pipelines().items():
        free = {d for d in pipeline.inputs() if not d.startswith("params:")}
        assert free <= set(ENTRIES), f"{name}: {free - set(ENTRIES)}"


@pytest.mark.parametrize("stage", project_config.STAGES[1:])
def test_every_stage_of_the_chain_reports(stage: str) -> None:
    report: dict[str, Any] = ENTRIES[f"{stage}_report"]
    assert report["filepath"] == f"data/08_reporting/{stage.removeprefix('validate_')}.json"
    assert report["metadata"]["tracking"] == "metrics"


def test_publishing_changes_nothing_but_the_folder_of_the_reports() -> None:
    published = project_config.catalog("publish")
    stages = set().union(*(project_config.pipelines()[stage].datasets() for stage in project_config.STAGES))
    for name, entry in ENTRIES.items():
        place = str(entry.get("filepath", ""))
        reported = name in stages and place.startswith("data/08_reporting/")
        expected = place.replace("data/08_reporting", "reports") if reported else place
        assert published[name] == entry | ({"filepath": expected} if place else {})


def test_a_generator_of_few_steps_is_aligned_beside_the_default_one() -> None:
    default, short = (project_config.catalog(environment) for environment in ("base", "short"))
    written = project_config.pipelines()["align"].all_outputs() & default.keys()
    assert len(written) > 1
    assert not {default[name]["filepath"] for name in written} & {short[name]["filepath"] for name in written}
