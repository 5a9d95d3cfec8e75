"""Which modules a module needs, found without importing any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import grimp


class ImportClosure:
    """What the modules of some top-level packages import of one another, inside functions as well.

    An import for type checkers alone does not count, as it never runs; the packages above a module do, as they run first.
    A module that is no package is taken as one that imports nothing.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        found = {name: spec for name in packages if (spec := find_spec(name)) is not None}
        self._folders = {
            name: Path(next(iter(spec.submodule_search_locations)))
            for name, spec in found.items()
            if spec.submodule_search_locations
        }
        self._files = {
            name: Path(spec.origin) for name, spec in found.items() if name not in self._folders and spec.origin
        }
        # Without a cache, which grimp would put into the working directory.
        self._graph = grimp.build_graph(*sorted(self._folders), cache_dir=None, exclude_type_checking_imports=True)

    def __contains__(self, module: str) -> bool:
        return module in self._graph.modules or module in self._files

    def below(self, package: str) -> set[str]:
        """A package and all its modules."""
        return {package, *self._graph.find_descendants(package)}

    def of(self, modules: Iterable[str]) -> set[str]:
        """The modules and everything that they need."""
        waiting, reached = list(modules), set[str]()
        while waiting:
            module = waiting.pop()
            if module not in reached:
                reached.add(module)
                waiting += self._needed(module)
        return reached

    def file(self, module: str) -> Path:
        """The source of a module."""
        if module in self._files:
            return self._files[module]
        top, *inner = module.split(".")
        path = self._folders[top].joinpath(*inner)
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")

    def _needed(self, module: str) -> Iterator[str]:
        if module in self._graph.modules:
            yield from self._graph.find_modules_directly_imported_by(module)
        if "." in module:
            yield module.rpartition(".")[0]
