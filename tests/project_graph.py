"""Our modules and what they import, read from the sources."""

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
