"""Refuses notebooks that are committed with results: they are made when the documentation is built."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path


def results(path: Path) -> Iterator[str]:
    """A sentence for every cell with a result or a count of runs."""
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], 1):
        if cell.get("outputs") or cell.get("execution_count") is not None:
            yield f"{path}: cell {number} has results; allowed: a notebook without (Edit, Clear outputs of all cells)"


if __name__ == "__main__":
    found = [line for name in sys.argv[1:] for line in results(Path(name))]
    sys.stderr.write("".join(f"{line}\n" for line in found))
    sys.exit(1 if found else 0)
