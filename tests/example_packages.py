"""The packages under ``examples/`` as if they were installed: importable, and their entry points declared."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vist3a import registry

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@contextmanager
def installed(folder: Path, *names: str) -> Iterator[None]:
    """As after ``pip install -e`` of these examples, with their metadata in ``folder``, until the block ends."""
    added = [str(folder), *(str(EXAMPLES / name) for name in names)]
    for name in names:
        project = tomllib.loads((EXAMPLES / name / "pyproject.toml").read_text())["project"]
        metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        groups = [
            f"[{group}]\n" + "".join(f"{key} = {place}\n" for key, place in entries.items())
            for group, entries in project["entry-points"].items()
        ]
        (metadata / "entry_points.txt").write_text("\n".join(groups))
    sys.path[:0] = added
    registry.forget()
    try:
        yield
    finally:
        for place in added:
            sys.path.remove(place)
        registry.forget()
