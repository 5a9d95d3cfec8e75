"""Work for workers of all kinds: integers, and items that do as their name says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vist3a.runtime.atomic import DiskFullError
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Done

Work = Callable[[Any, Done], Any]


def squares(folder: Path | None = None) -> Work:
    """Squares numbers, slower the smaller they are, so that several workers finish out of order; ``folder`` counts loads."""
    if folder is not None:
        (folder / f"loaded-{os.getpid()}").touch()

    def work(item: Any, done: Done) -> Any:
        if isinstance(item, Path):
            return _die_once(item)
        if item == "refuse":
            raise ValueError("refuse: a word; allowed: numbers")
        if item == "odd":
            raise OddError("one", "two")
        if item == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "full":
            raise DiskFullError("no space is left")
        if item == "settings":
            return WorkerSettings(count=2)
        if item == "torch":
            return torch.zeros(2) @ torch.zeros(3)
        if item == "threads":
            return torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_deterministic_debug_mode()
        if item == "folder":
            return str(Path.cwd())
        time.sleep(max(0.0, 0.03 * (5 - item)))
        done(2)
        return item**2

    return work


class OddError(Exception):
    """Does not come back from its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def _die_once(mark: Path) -> str:
    """Dies where ``mark`` is not there yet, in the middle of the work."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark.name


def broken() -> Work:
    """Cannot load."""
    raise FileNotFoundError("no weights are here; allowed: a folder with weights")


def dying() -> Work:
    """Dies while it loads."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
