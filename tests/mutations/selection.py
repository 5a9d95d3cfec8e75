"""Which tests can notice a fault in a module: those that import it come first, the quick ones before the slow ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import project_graph

TESTS = project_graph.REPOSITORY / "tests"
CHAIN = "tests/app/pipelines/test_chain.py"
"""Runs everything in processes of its own: the last resort, and the longest."""
UNKNOWN = 10.0
"""Seconds that a file is thought to take before it has been seen."""


@cache
def test_files() -> tuple[str, ...]:
    """All files of tests but the chain's, relative to the repository."""
    files = sorted(TESTS.rglob("test_*.py"))
    return tuple(name for name in (str(file.relative_to(project_graph.REPOSITORY)) for file in files) if name != CHAIN)


@cache
def _helpers(file: Path) -> frozenset[Path]:
    """A file of tests and the files beside it that it imports or starts."""
    found, waiting = set(), [file]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        names = [TESTS.joinpath(*name.split(".")).with_suffix(".py") for name in project_graph.imported_names(path)]
        started = [path.parent / name for name in re.findall(r"[\"'](\w+\.py)[\"']", path.read_text())]
        waiting += [name for name in (*names, *started) if name.is_file()]
    return frozenset(found)


@cache
def distances(file: str) -> Mapping[str, int]:
    """How many imports lie between a file of tests and each of our modules."""
    known = project_graph.modules()
    edge = {
        name
        for helper in _helpers(project_graph.REPOSITORY / file)
        for name in project_graph.imported_names(helper)
        if name in known
    }
    found: dict[str, int] = {}
    distance = 1
    while edge:
        found |= dict.fromkeys(edge, distance)
        edge = {name for module in edge for name in project_graph.first_party_imports(module)} - found.keys()
        distance += 1
    return found


def tests_of(module: str, seconds: Mapping[str, float], budget: float, noticed: Mapping[str, int]) -> list[str]:
    """Files to run for a module (a path below ``src``), as many as the budget of seconds allows.

    First those that ``noticed`` other errors of the module, then the nearest, where the folder of tests that mirrors the module's
    package counts two imports less and the module's name in that of the file one; then the quickest.
    """
    name = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    folder, _, stem = module.removesuffix(".py").rpartition("/")
    folder = folder.removeprefix("vist3a_").removeprefix("vist3a/")
    near = []
    for file in test_files():
        distance = distances(file).get(name)
        if distance is not None:
            distance -= 2 * file.startswith(f"tests/{folder}/") + (stem in Path(file).stem)
            near.append((-noticed.get(file, 0), max(0, distance), seconds.get(file, UNKNOWN), file))
    chosen, spent = [], 0.0
    for _, distance, needed, file in sorted(near):
        if spent + needed <= budget or (distance <= 1 and needed <= budget):
            chosen.append(file)
            spent += needed
    return chosen
