"""The presets: what ``docs/presets.md`` says of every value is what a run gets, and nothing is set that it does not name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import project_config
import pytest
import yaml
from kedro.validation.parameter_validator import ParameterValidator

PRESETS = ("paper", "released")
ABSENT = "absent"
# What a user must give, and what would do.
GIVEN: dict[str, Any] = {
    "curate": {"source": "clips"},
    "align": {"prompts_file": "prompts.txt", "guidance": 5.0, "loop": {"steps": 300}},
    "evaluate": {"prompts_file": "others.txt"},
}


def table(heading: str) -> dict[str, list[str]]:
    """Rows of the first table below a heading, by knob: all further cells."""
    text = (project_config.REPOSITORY / "docs" / "presets.md").read_text().split(heading)[1]
    rows = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1:]]
    return {name: rest for name, *rest in cells}


def leaves(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and name != "align.reward_models":
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def resolved(environment: str, preset: str, **given: Any) -> dict[str, Any]:
    return dict(leaves(dict(project_config.loader(environment, preset=preset, **given)["parameters"])))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_value_is_the_one_of_the_table(preset: str) -> None:
    found, column = resolved("wan+anysplat", preset), 2 * PRESETS.index(preset)
    rows = table("# The presets")
    assert len(rows) > 70
    for knob, cells in rows.items():
        if cells[column] == ABSENT:
            assert found.get(knob) is None, knob
        else:
            assert found[knob] == yaml.safe_load(cells[column]), knob
        assert cells[column + 1], f"{knob} has no source"


@pytest.mark.parametrize(("column", "network"), [(0, "vggt"), (1, "mvdust3r"), (2, "da3")])
def test_other_networks_have_the_values_of_the_table(column: int, network: str) -> None:
    found = resolved(f"wan+{network}", "paper")
    for knob, cells in table("## What other 3D networks change").items():
        assert found[knob] == yaml.safe_load(cells[2 * column]), knob


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_nothing_that_the_table_does_not_name(preset: str) -> None:
    values = yaml.safe_load((project_config.CONF / "base" / "presets" / f"{preset}.yml").read_text())
    named = {"align.prompt_templates", *table("# The presets"), *table("## What other 3D networks change")}
    for part in values.values():
        assert {name for name, _ in leaves(part)} <= named


def typed(environment: str, preset: str, **given: Any) -> dict[str, Any]:
    values = dict(project_config.loader(environment, preset=preset, **given)["parameters"])
    del values["preset"]
    return dict(ParameterValidator(project_config.pipelines()).validate_raw_params(copy.deepcopy(values)))


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_source_leaves_open_is_asked_for(preset: str) -> None:
    sentence = "the source of the preset does not state it; allowed: a value of your own"
    with pytest.raises(Exception, match=rf"(?s)prompts_file.*: {sentence}"):
        typed("wan+anysplat", preset)
    without_steps = {**GIVEN, "align": {**GIVEN["align"], "loop": {}}}
    with pytest.raises(Exception, match=rf"(?s)align.*loop\.steps: {sentence}"):
        typed("wan+anysplat", preset, **without_steps)


# Networks and generators do not meet in a preset.
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "environment",
    [
        *(f"wan+{network}" for network in ("anysplat", "vggt", "mvdust3r", "da3")),
        "cogvideox+vggt",
        "hunyuan+da3",
        "svd+mvdust3r",
    ],
)
def test_a_preset_fits_the_pairings(environment: str, preset: str) -> None:
    found = typed(environment, preset, **GIVEN)
    assert found["generate"].steps == {"paper": 80, "released": 50}[preset]
    assert found["align"].loop.steps == 300
    assert (found["curate"].frames - 1) % 4 == 0


def test_what_there_is_not_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"preset: 'papr'; allowed: paper, released"):
        project_config.loader("wan+anysplat", preset="papr")["parameters"]
