"""Writes ``requirements.lock`` and ``requirements-dev.lock``: what this environment has of the dependencies of the project and of
theirs at exact versions, and what the extras of developers have beside them.

``make lock`` builds a fresh environment from pyproject.toml first; packages that nothing asks for stay out.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import deque
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

TITLE = "# Made by `make lock`: exact versions of {what}, for Python 3.11 and later. Do not edit.\n"


def main() -> None:
    """Write both files into the current folder."""
    told = tomllib.loads(Path("pyproject.toml").read_text())
    # The project itself is built in this environment.
    wanted = [*told["project"]["dependencies"], *told["build-system"]["requires"]]
    extras = told["project"]["optional-dependencies"]
    used, all_of_it = versions_of(wanted), versions_of([*wanted, *extras["dev"], *extras["docs"]])
    write(Path("requirements.lock"), "everything that a run needs", used)
    beside = {name: version for name, version in all_of_it.items() if name not in used}
    write(Path("requirements-dev.lock"), "what tests and checks need beside requirements.lock", beside)


def versions_of(wanted: list[str]) -> dict[str, str]:
    """Public versions of the requirements and of all that they require, by name."""
    queue = deque((Requirement(text), "") for text in wanted)
    done: set[tuple[str, str]] = set()
    versions: dict[str, str] = {}
    missing: list[str] = []
    while queue:
        requirement, extra = queue.popleft()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        try:
            found = distribution(name)
        except PackageNotFoundError:
            missing.append(str(requirement))
            continue
        # The public version: a build for one kind of machine (``+cpu``) satisfies it as well.
        versions[name] = Version(found.version).public
        for wished in ("", *requirement.extras):
            if (name, wished) not in done:
                done.add((name, wished))
                queue.extend((Requirement(text), wished) for text in found.requires or [])
    if missing:
        sys.exit(f"not installed here: {', '.join(missing)}")
    return versions


def write(path: Path, what: str, versions: dict[str, str]) -> None:
    """One line for each package."""
    lines = [TITLE.format(what=what), *(f"{name}=={version}\n" for name, version in sorted(versions.items()))]
    path.write_text("".join(lines))


if __name__ == "__main__":
    main()
