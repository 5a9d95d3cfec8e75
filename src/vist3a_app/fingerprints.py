"""What of the code can change the result of each stage of ``dvc.yaml``: ``python -m vist3a_app.fingerprints``.

Every stage gets a small file ``data/fingerprints/STAGE.txt``, on which it depends instead of on sources. A line is a module and
the hash of its plain code (:mod:`vist3a.runtime.fingerprint`), or an entry of the catalog and the hash of its content. The
modules are those that the stage's pipeline and the types of its datasets import, and those that the parts need which its
parameters or its pipeline name: a stage on Wan and AnySplat knows nothing of the other families.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from tokenize import open as open_source
from typing import Any

import yaml

from vist3a import registry
from vist3a.runtime.atomic import replacing_folder
from vist3a.runtime.fingerprint import fingerprint
from vist3a_app.configuration import LayeredConfigLoader
from vist3a_app.import_closure import ImportClosure
from vist3a_app.pipeline_registry import pipeline_packages
from vist3a_app.settings import CONFIG_LOADER_ARGS

FOLDER = "data/fingerprints"
ENVIRONMENT = "publish"
"""The overlay that the commands of ``dvc.yaml`` run in."""
SETUP = "vist3a_app.hooks.determinism"
"""Sets up torch before every run. How it reads its file cannot change a result, so what it imports does not count."""
LIBRARY = "vist3a."
PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""``package.module:Name``."""
NETWORKS = "networks"
"""The group of parameters whose folders are no scorers."""
CONFIG, SCORER, DEFAULT_SCORER = "config.json", "scorer", "dual_encoder"
"""Where and how the folder of a scorer says its kind."""


def main() -> None:
    """Write the files of all stages of the project in the working directory."""
    root = Path.cwd()
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    described = {name: "".join(lines(root, name, stage)) for name, stage in stages.items() if "params" in stage}
    with replacing_folder(root / FOLDER) as folder:
        for name, text in described.items():
            (folder / f"{name}.txt").write_text(text)


def lines(root: Path, name: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a stage's file."""
    entries = catalog_entries(root, name, stage)
    for module in sorted(modules(root, name, stage, entries)):
        yield f"{module} {_of_file(_closure(root).file(module))}\n"
    for key, entry in sorted(entries.items()):
        # Metadata say what is recorded of a file, not what is in it.
        content = json.dumps({k: v for k, v in entry.items() if k != "metadata"}, sort_keys=True, default=str)
        yield f"catalog:{key} {hashlib.sha256(content.encode()).hexdigest()}\n"


def modules(root: Path, name: str, stage: Mapping[str, Any], entries: Mapping[str, Any]) -> set[str]:
    """All modules that can change the result of a stage."""
    graph, groups = _closure(root), _configured(root, "parameters")
    named = {group for item in stage["params"] for keys in item.values() for group in keys} & groups.keys()
    packages = [f"{package}.{name}" for package in pipeline_packages()]
    # A stage is a pipeline of the same name, in whichever package it is.
    own = {module for package in packages if package in graph for module in graph.below(package)}
    types = {entry["type"].rpartition(".")[0] for entry in entries.values()}
    reached = graph.of([*own, *(module for module in types if module in graph)])
    # Where parts are named: in parameters, in the folders of scorers, and as defaults in code above the library.
    words = {word for group in named for word in _words(groups[group])}
    folders = {word for group in named - {NETWORKS} for word in _words(groups[group]) if word.startswith("data/")}
    words |= {_scorer(root / folder) for folder in folders}
    words |= {word for module in reached if not module.startswith(LIBRARY) for word in _constants(graph.file(module))}
    places = {place for kind in registry.KINDS for word in words if (place := registry.place(kind, word))}
    named_parts = (module for place in places if (module := place.partition(":")[0]) in graph)
    return {SETUP, *graph.of([*reached, *named_parts])}


def catalog_entries(root: Path, name: str, stage: Mapping[str, Any]) -> dict[str, Any]:
    """What a stage reads and writes: the entries of its own file of the catalog, and those of others that it depends on."""
    catalog = _configured(root, "catalog")
    file = root / "conf" / "base" / "catalog" / f"{name}.yml"
    own = yaml.safe_load(file.read_text()).keys() if file.is_file() else ()
    return {key: entry for key, entry in catalog.items() if key in own or entry.get("filepath") in stage["deps"]}


@cache
def _configured(root: Path, what: str) -> dict[str, Any]:
    return LayeredConfigLoader(str(root / "conf"), env=ENVIRONMENT, **CONFIG_LOADER_ARGS)[what]


@cache
def _closure(root: Path) -> ImportClosure:
    """Our packages, and those that parts or pipelines of others come from."""
    groups = [f"{registry.GROUP}.{kind}" for kind in (*registry.KINDS, "pipelines")]
    places = [entry.value for group in groups for entry in entry_points(group=group)]
    places += [word for word in _words(_configured(root, "parameters")) if PLACE.fullmatch(word)]
    return ImportClosure({"vist3a", "vist3a_app", *(re.split("[.:]", place)[0] for place in places)})


@cache
def _of_file(path: Path) -> str:
    return fingerprint(_source(path))


@cache
def _constants(path: Path) -> frozenset[str]:
    """Strings in the code of a module, where a name of a part may stand as a default; none if no name is in it."""
    source = _source(path)
    # A quick look before the whole module is parsed.
    if not any(name in source for kind in registry.KINDS for name in registry.names(kind)):
        return frozenset()
    nodes = ast.walk(ast.parse(source))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def _source(path: Path) -> str:
    with open_source(str(path)) as file:
        return file.read()


def _scorer(folder: Path) -> str:
    """The kind of the scorer in a folder, empty for a file or another folder; the default if nothing is there yet."""
    file = folder / CONFIG
    if file.is_file():
        return str(json.loads(file.read_text()).get(SCORER, DEFAULT_SCORER))
    return "" if folder.exists() else DEFAULT_SCORER


def _words(value: Any) -> Iterator[str]:
    """Strings in a parameter, and keys that are not switched off by null."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if inner is not None:
                yield str(key)
                yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)


if __name__ == "__main__":
    main()
