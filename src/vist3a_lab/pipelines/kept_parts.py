"""Parts of a long study, kept until its report is there, so that a killed run goes on: folders, and figures as JSON.

A part appears whole or not at all. Its place is named by everything it depends on (see :mod:`vist3a.runtime.run_folder`). Several
processes may share the folder of all parts: what one is making the others wait for.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from vist3a.runtime.atomic import replacing, replacing_folder

logger = logging.getLogger(__name__)


def kept_folder(folder: Path, make: Callable[[], Callable[[Path], None]]) -> Path:
    """``folder``, filled now unless an earlier run did; ``make()`` gives what writes into a folder."""
    with _alone(folder):
        if not folder.is_dir():
            write = make()
            with replacing_folder(folder) as partial:
                write(partial)
    return folder


def kept_figures(folder: Path, measure: Callable[[], dict[str, Any]], study: str, part: str) -> dict[str, Any]:
    """Figures of a part, from an earlier run where there was one; values that are not finite become null.

    ``study`` and ``part`` say in the log what is measured.
    """
    file = folder / "figures.json"
    with _alone(folder):
        if not file.is_file():
            logger.info("%s: measuring %s", study, part)
            found = _finite(measure())
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(found, allow_nan=False))
        else:
            logger.info("%s: %s is there from an earlier run", study, part)
    kept: dict[str, Any] = json.loads(file.read_text())
    return kept


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one process at a time makes a part; the system drops the lock of one that is killed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        yield


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    # JSON has no NaN; null comes back as a value that is missing.
    return value if math.isfinite(value) else None
