"""What can be said of a documented command without running it: its program, target, pipeline, parameters and options exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PLACEHOLDER = re.compile(r"NAME|GROUP|KEY|PAIRING")
PIPELINE_SUMS = {"stitch"}


def problems(text: str) -> Iterator[str]:
    """A sentence for everything in a command of one line that does not exist."""
    words = shlex.split(text.partition(" | ")[0])
    while words and re.fullmatch(r"[A-Z_0-9]+=\S*", words[0]):
        del words[0]
    if not words:
        return
    program, rest = words[0], words[1:]
    if program == "make":
        yield from _make(rest)
    elif program == "vist3a":
        yield from _vist3a(rest)
    elif program == "kedro" and rest[:1] == ["run"]:
        yield from _options(kedro_run(), "kedro run", rest[1:])
    elif program == "torchrun":
        yield from _options(kedro_run(), "kedro run", rest[rest.index("vist3a_app") + 1 :])
    elif program == "python" and rest and rest[0].endswith(".py") and not (REPOSITORY / rest[0]).is_file():
        yield f"{rest[0]} is no file"
    elif program == "sbatch":
        script = next(number for number, word in enumerate(rest) if word.endswith(".sh"))
        if not (REPOSITORY / rest[script]).is_file():
            yield f"{rest[script]} is no file"
        yield from _options(kedro_run(), "kedro run", rest[script + 1 :])
    for word in rest:
        yield from _run_options(word)


@cache
def kedro_run() -> click.Command:
    """``kedro run`` as this project has it."""
    from vist3a_app.cli import program

    command = program.get_command(click.Context(program), "run")
    assert command is not None
    return command


@cache
def targets() -> frozenset[str]:
    """Targets of the Makefile."""
    return frozenset(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@cache
def pipelines() -> frozenset[str]:
    """Names of pipelines, sums of them too."""
    houses = (REPOSITORY / "src" / house / "pipelines" for house in ("vist3a_app", "vist3a_lab"))
    return frozenset(path.parent.name for house in houses for path in house.glob("*/pipeline.py")) | PIPELINE_SUMS


@cache
def parameters() -> dict[str, Any]:
    """Groups of ``conf/base/parameters``."""
    folder = REPOSITORY / "conf" / "base" / "parameters"
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yml")):
        for group, values in yaml.safe_load(path.read_text(encoding="utf-8")).items():
            found.setdefault(group, {}).update(values)
    return found


def is_parameter(place: str) -> bool:
    """Whether ``group.key`` (or deeper) is in ``conf/base``, or a setting of the group whose default is in code."""
    group, *keys = place.split(".")
    value: Any = parameters().get(group, {})
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return _is_field(settings_of(group), keys)
        value = value[key]
    return bool(keys)


def settings_of(group: str) -> Any:
    """The typed settings of a group of parameters; None where a group has none of its own."""
    from vist3a_app.pipelines.networks import Networks

    if group == "networks":
        return Networks
    for house in ("vist3a_app", "vist3a_lab"):
        try:
            module = import_module(f"{house}.pipelines.{group}.params")
        except ModuleNotFoundError:
            continue
        return getattr(module, f"{group.title().replace('_', '')}Params")
    return None


def _is_field(settings: Any, keys: list[str]) -> bool:
    field = getattr(settings, "model_fields", {}).get(keys[0])
    return field is not None and (len(keys) == 1 or _is_field(field.annotation, keys[1:]))


def _make(words: list[str]) -> Iterator[str]:
    for word in words:
        if "=" not in word and word not in targets():
            yield f"make has no target {word}"


def _vist3a(words: list[str]) -> Iterator[str]:
    from vist3a_app.cli import program

    if not words:
        return
    if words[0].startswith("--"):
        yield from _options(kedro_run(), "vist3a", words)
        return
    command = program.get_command(click.Context(program), words[0])
    if command is None:
        yield f"vist3a has no command {words[0]}"
    else:
        yield from _options(command, f"vist3a {words[0]}", words[1:])


def _options(command: click.Command, said: str, words: list[str]) -> Iterator[str]:
    known = {"--help"} | {option for parameter in command.params for option in parameter.opts}
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--") and option not in known:
            yield f"{said} has no option {option}"


def _run_options(word: str) -> Iterator[str]:
    option, _, value = word.partition("=")
    if option in {"--pipelines", "--pipeline"} and not PLACEHOLDER.fullmatch(value):
        yield from (f"there is no pipeline {name}" for name in value.split(",") if name not in pipelines())
    if option == "--env" and not (REPOSITORY / "conf" / value).is_dir():
        yield f"there is no conf/{value}"
    if option == "--params":
        for place in re.findall(r"(?:^|,)([\w.]+)=", value):
            if place not in {"pair", "preset"} and not PLACEHOLDER.search(place) and not is_parameter(place):
                yield f"there is no parameter {place}"
