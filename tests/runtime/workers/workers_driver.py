"""``workers_driver.py KIND FOLDER``: two workers that say in FOLDER who they are, and then take their time."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import workers_driver

from vist3a.runtime.workers.mapping import mapped
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Done


def sleepers(folder: Path) -> Any:
    """Work without an end."""

    def work(item: int, done: Done) -> None:
        (folder / f"worker-{os.getpid()}").touch()
        time.sleep(600)

    return work


if __name__ == "__main__":
    # By the name of the module, which workers can import.
    load: Any = partial(workers_driver.sleepers, Path(sys.argv[2]))
    list(mapped(load, [1, 2], WorkerSettings(kind=sys.argv[1], count=2)))  # type: ignore[arg-type]
