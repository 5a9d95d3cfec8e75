"""The Ray cluster that a run works on: the one that ``RAY_ADDRESS`` names, else one of this machine for this process."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from vist3a.runtime.workers.accounts import Place


def connected(asked_by: str, cores: int = 0) -> Any:
    """The module ``ray``, connected to a cluster, which stays up to the end of this process.

    Args:
        asked_by: The setting that asks for Ray, for the sentence where it is not installed.
        cores: What a cluster of this machine offers at least, also where there are fewer: the work then takes turns.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: No cluster answers at ``RAY_ADDRESS``.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{asked_by}, but Ray is not installed; `pip install 'vist3a[ray]'`, or say otherwise"
        ) from error
    if not ray.is_initialized():
        # Ray would report its use to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        former = signal.getsignal(signal.SIGTERM)
        _connect(ray, cores)
        # Ray ends the process at SIGTERM; the run record had a handler that says so first.
        if threading.current_thread() is threading.main_thread() and former is not None:
            signal.signal(signal.SIGTERM, former)
    return ray


def _connect(ray: Any, cores: int) -> None:
    if address := os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(logging_level=logging.WARNING)
        except ConnectionError as error:
            raise ConnectionError(
                f"RAY_ADDRESS is {address}, where no Ray cluster answers; allowed: auto (of `ray start` on this machine), "
                "HOST:PORT, or unset for a cluster of this run"
            ) from error
        return
    # Not any cluster of this machine: Ray waits ten minutes for one that was not ended well.
    cores = max(os.cpu_count() or 1, cores)
    ray.init(address="local", num_cpus=cores, include_dashboard=False, logging_level=logging.WARNING)


def enter(folder: Path, modules: list[str]) -> None:
    """Make a process of the cluster stand where the run was started: paths of the settings start there, on every machine.

    Raises:
        FileNotFoundError: This machine does not see ``folder``.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not there on {Place.here().host}; allowed: a cluster whose machines all see the folder that the run "
            "is started in"
        )
    os.chdir(folder)
    sys.path += [place for place in modules if place not in sys.path]
