"""What the code imports and what the pipelines read and write, derived from the sources: the truth that other files repeat."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src"
PACKAGES = tuple(SOURCE / name for name in ("vist3a", "vist3a_app", "vist3a_lab"))


def modules() -> dict[str, Path]:
    """All our modules by dotted name."""
    found = {}
    for path in sorted(file for package in PACKAGES for file in package.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_names(path: Path) -> Iterator[str]:
    """Dotted names a file imports, inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def first_party_imports(module: str) -> frozenset[str]:
    """Our modules that a module imports directly, packages on the way included."""
    known = modules()
    direct = {name for name in imported_names(known[module]) if name in known}
    parents = {".".join(name.split(".")[:depth]) for name in direct for depth in range(2, name.count(".") + 1)}
    return frozenset(direct | parents)


def closure(start: str) -> set[str]:
    """A package's or module's own modules and everything of ours they need."""
    waiting = [name for name in modules() if name == start or name.startswith(start + ".")]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(first_party_imports(name))
    return reached


def collapsed(names: set[str]) -> list[str]:
    """The files of the given modules, relative to the repository; a package whose modules are all there becomes its folder."""
    files = {path for name, path in modules().items() if name in names and path.stat().st_size}
    folders = sorted({path.parent for path in modules().values()} - set(PACKAGES), key=lambda folder: len(folder.parts))
    chosen: list[Path] = []
    for folder in folders:
        inside = {path for path in modules().values() if path.is_relative_to(folder) and path.stat().st_size}
        if len(inside) > 1 and inside <= files:
            chosen.append(folder)
            files -= inside
    return sorted(str(path.relative_to(REPOSITORY)) for path in [*chosen, *files])


def code_of(pipeline: str, dataset_types: set[str]) -> list[str]:
    """Code that decides what a pipeline writes: its own, its datasets', and all that these import."""
    needed = closure(f"vist3a_app.pipelines.{pipeline}") | closure(f"vist3a_lab.pipelines.{pipeline}")
    for dataset_type in dataset_types:
        if dataset_type.startswith("vist3a_app."):
            needed |= closure(dataset_type.rpartition(".")[0])
    return collapsed(needed)
