"""Files appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

_counter = count()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` (same suffix), renamed to it on success and removed on failure.

    Missing folders are created. The rename is atomic, so a reader or a killed run never sees half a file. The name is that of
    this very call: threads and processes may write one file at the same time, and the last one stays, whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{next(_counter)}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
