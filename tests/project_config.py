"""The project's configuration and pipelines, read without running anything."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from kedro.framework.project import configure_project
from kedro.pipeline import Pipeline

from vist3a_app.configuration import LayeredConfigLoader
from vist3a_app.pipeline_registry import CHAIN, register_pipelines
from vist3a_app.settings import CONFIG_LOADER_ARGS

REPOSITORY = Path(__file__).resolve().parents[1]
CONF = REPOSITORY / "conf"
STAGES = ("pretrain", "validate_embedded", *CHAIN, "layer_study", "claims", "alignment_study")
# What groups take from globals.yml.
SHARED = "conf/base/parameters/shared.yml"
# Folders of unfinished trainings and of embedded texts: read and written by nodes on their own, outside of what DVC compares.
STATE = {"chain_checkpoints", "pretrain_checkpoints", "text_embeddings"}


@dataclass
class Stage:
    """One pipeline as DVC should see it."""

    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)


@cache
def pipelines() -> dict[str, Pipeline]:
    """All registered pipelines."""
    configure_project("vist3a_app")
    return register_pipelines()


def environments() -> list[str]:
    """Folders of conf, the base first."""
    return ["base", *sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name != "base")]


def loader(environment: str, **given: Any) -> LayeredConfigLoader:
    """Configuration as a run in that environment, or of that pairing, sees it; ``given`` as by ``--params``."""
    if "+" in environment:
        environment, given = "base", {"pair": environment, **given}
    arguments = {key: value for key, value in CONFIG_LOADER_ARGS.items() if key != "default_run_env"}
    return LayeredConfigLoader(str(CONF), env=environment, runtime_params=given, default_run_env="base", **arguments)


@cache
def catalog(environment: str = "base") -> dict[str, dict[str, Any]]:
    """Catalog entries of an environment."""
    return dict(loader(environment)["catalog"])


def stage(name: str) -> Stage:
    """What a pipeline reads and writes on disk when DVC runs it, and its parameter groups."""
    pipeline, found, entries = pipelines()[name], Stage(), catalog("publish")
    found.entries = (pipeline.datasets() - STATE) & entries.keys()
    for dataset in pipeline.inputs():
        if dataset.startswith("params:"):
            found.parameters.add(dataset.removeprefix("params:"))
        elif dataset not in STATE:
            found.reads.add(entries[dataset]["filepath"])
    for dataset in pipeline.all_outputs():
        if dataset in entries:
            found.writes.add(entries[dataset]["filepath"])
    whole = found.parameters & parameters().keys()  # of a group whose one key is read alone, no path is
    found.reads |= {path for group in whole for path in paths_in(parameters()[group])}
    return found


@cache
def parameters() -> dict[str, Any]:
    """Parameters of the base environment."""
    return dict(loader("base")["parameters"])


def paths_in(value: Any) -> set[str]:
    """Files and folders of ``data/`` that parameters name."""
    if isinstance(value, dict):
        return {path for item in value.values() for path in paths_in(item)}
    return {value} if isinstance(value, str) and value.startswith("data/") else set()


@cache
def parameter_files() -> dict[str, list[str]]:
    """The files of the base environment that hold each parameter group: its own, and the one of shared values."""
    found: dict[str, list[str]] = {}
    for path in sorted((CONF / "base" / "parameters").glob("*.yml")):
        for group in yaml.safe_load(path.read_text()):
            found.setdefault(group, []).append(str(path.relative_to(REPOSITORY)))
    return found


def files_with(key: str) -> list[str]:
    """Those of :func:`parameter_files` that hold a group, or one value in it (``group.name``)."""
    group, *names = key.split(".")

    def holds(file: str) -> bool:
        value = yaml.safe_load((REPOSITORY / file).read_text())[group]
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return False
            value = value[name]
        return True

    return [file for file in parameter_files()[group] if holds(file)]


def globals_used(groups: set[str]) -> set[str]:
    """Keys of ``globals.yml`` that the given parameter groups take their values from."""
    shared = yaml.safe_load((REPOSITORY / SHARED).read_text())
    texts = (yaml.safe_dump(shared.get(group, {})) for group in groups)
    return {key for text in texts for key in re.findall(r"\$\{globals:(\w+)", text)}
