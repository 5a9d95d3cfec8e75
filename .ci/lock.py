"""Prints ``requirements.lock``: what this environment has of the project's dependencies and of theirs, at exact versions.

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

EXTRAS = ("dev",)


def main() -> None:
    """Write the lines to standard output."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
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
    sys.stdout.write("# Made by `make lock`: exact versions of everything, for Python 3.11 and later. Do not edit.\n")
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(versions.items()))


if __name__ == "__main__":
    main()
