"""Every file of the configuration loads in every environment, and every value is one that some pipeline understands."""

from __future__ import annotations

import copy
from typing import Any

import project_config
import pytest
from kedro.validation.parameter_validator import ParameterValidator
from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from vist3a import registry
from vist3a.pairing import published_configs
from vist3a.weights.known import KnownWeights
from vist3a_app.configuration import LAYERS
from vist3a_app.hooks.determinism import DeterminismSettings
from vist3a_app.hooks.parameter_keys import ParameterKeys, known_groups
from vist3a_app.hooks.tracking_settings import TrackingSettings

ENVIRONMENTS = [
    *project_config.environments(),
    *(
        f"{g}+{n}"
        for g in ("wan", "wan14b", "anyflow", "cogvideox", "hunyuan", "svd")
        for n in ("anysplat", "vggt", "da3", "mvdust3r")
    ),
]


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    return project_config.pipelines()


def validated(parameters: dict[str, Any], pipelines: dict[str, Any]) -> dict[str, Any]:
    return dict(ParameterValidator(pipelines).validate_raw_params(copy.deepcopy(parameters)))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_parameters_are_valid_for_all_pipelines(environment: str, pipelines: dict[str, Any]) -> None:
    parameters = {k: v for k, v in project_config.loader(environment)["parameters"].items() if k not in LAYERS}
    typed = validated(parameters, pipelines)
    assert set(parameters) == known_groups(pipelines)
    for group in parameters:
        assert isinstance(typed[group], BaseModel), f"parameter group {group} has no type"
        assert typed[group].model_config.get("extra") == "forbid", f"{group} accepts unknown keys"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_other_files_load(environment: str) -> None:
    loader = project_config.loader(environment)
    assert loader["catalog"]
    assert {"device", "seed"} <= set(loader["globals"])
    assert TrackingSettings(**loader["tracking"]["tracking"]).enabled
    DeterminismSettings(**loader["determinism"]["determinism"])
    configs = published_configs()
    for name, weights in KnownWeights.read().networks.items():
        assert weights.config in configs, name


def test_every_kind_of_published_network_has_weights() -> None:
    entries = KnownWeights.read().networks
    configs = published_configs()
    assert {configs[weights.config][0] for weights in entries.values()} == set(registry.names("networks"))
    assert {weights.config for weights in entries.values()} == set(configs) - {"vggt-1b-tracker"}


@pytest.mark.parametrize("group", sorted(project_config.parameters()))
def test_an_unknown_key_is_refused(group: str, pipelines: dict[str, Any]) -> None:
    parameters = copy.deepcopy(project_config.parameters())
    parameters[group]["no_such_key"] = 1
    with pytest.raises(Exception, match="no_such_key"):
        validated(parameters, pipelines)


@pytest.mark.parametrize(
    ("group", "changes", "sentence"),
    [
        (
            "align",
            {"loop": {"stepz": 3}},
            r"unknown key 'loop\.stepz'; did you mean 'steps'\? allowed: steps, learning_rate,",
        ),
        (
            "align",
            {"watch": {"judge_evry": 3}},
            r"unknown key 'judge_evry'; did you mean 'judge_every'\? allowed: judge_every, .*, judge",
        ),
        (
            "align",
            {"prompt_per_step": 3},
            r"unknown key 'prompt_per_step'; did you mean 'prompts_per_step'\? allowed: frames,",
        ),
        ("distill", {"match": {"loop": {"x": 3}}}, r"unknown key 'match\.loop\.x'; allowed: steps,"),
        (
            "distill",
            {"weights": {"depht": 3}},
            r"unknown key 'weights\.depht'; did you mean 'depth'\? allowed: pose, depth,",
        ),
        (
            "curate",
            {"checks": {"min_contrst": 3}},
            r"unknown key 'checks\.min_contrst'; did you mean 'min_contrast'\? allowed",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_those_that_are_allowed(
    group: str, changes: dict[str, Any], sentence: str, pipelines: dict[str, Any]
) -> None:
    parameters: Any = OmegaConf.to_container(OmegaConf.merge(project_config.parameters(), {group: changes}))
    with pytest.raises(Exception, match=sentence):
        validated(parameters, pipelines)


@pytest.mark.parametrize(
    ("group", "changes", "place"),
    [
        ("align", {"loop": {"steps": 0}}, "loop.steps"),
        ("align", {"width": 0}, "width"),
        ("distill", {"match": {"early": 1.0}}, "match.early"),
        ("distill", {"color_jitter": [0.5, 0.5, 0.5, 0.6]}, "color_jitter.3"),
        ("extract", {"kernel": [5, 3, 0]}, "kernel.2"),
        ("generate", {"guidance": 0.5}, "guidance"),
        ("curate", {"frames": 4}, "frames"),
        ("curate", {"checks": {"cut_likeness": -2}}, "checks.cut_likeness"),
        ("evaluate", {"steps": 0}, "steps"),
    ],
)
def test_the_bounds_of_the_library_hold_for_parameters(
    group: str, changes: dict[str, Any], place: str, pipelines: dict[str, Any]
) -> None:
    parameters: Any = OmegaConf.to_container(OmegaConf.merge(project_config.parameters(), {group: changes}))
    with pytest.raises(Exception, match=rf"(?m)^{place}$"):
        validated(parameters, pipelines)


def test_an_unknown_group_is_refused_with_the_nearest_name() -> None:
    class Catalog(dict[str, Any]):
        def load(self, name: str) -> Any:
            return self[name]

    given = {**project_config.parameters(), "scoer": {}}
    with pytest.raises(ValueError, match=r"unknown parameter group .scoer'.*did you mean 'score'"):
        ParameterKeys().before_pipeline_run(Catalog(parameters=given))


def test_settings_refuse_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="artefacts"):
        TrackingSettings(**{"artefacts": "mlruns"})  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="thread"):
        DeterminismSettings(**{"thread": 1})


@pytest.mark.parametrize("environment", [name for name in ENVIRONMENTS if name not in {"base", "local"}])
def test_overlays_only_change_what_the_base_has(environment: str) -> None:
    """An overlay is values; a key that the base does not have would be the only place to learn of it."""
    base = OmegaConf.create(project_config.parameters())
    for group, values in project_config.loader(environment)["parameters"].items():
        if group in LAYERS:
            continue
        assert set(values) <= set(base[group])


def test_files_are_named_after_what_they_hold() -> None:
    for group, files in project_config.parameter_files().items():
        assert [file for file in files if file != project_config.SHARED] == [f"conf/base/parameters/{group}.yml"]
