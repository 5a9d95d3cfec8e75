"""The Ray cluster that a run works on: the one that ``RAY_ADDRESS`` names, else one of this machine for this process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from vist3a.runtime.workers.accounts import Place

ANSWER_SECONDS = 10.0


def connected(asked_by: str, instead: str, cores: int = 0) -> Any:
    """The module ``ray``, connected to a cluster, which stays up to the end of this process.

    Args:
        asked_by: What asks for Ray, for the sentence where it is not installed.
        instead: What does without it.
        cores: What a cluster of this machine offers at least, also where there are fewer: the work then takes turns.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: No cluster answers at ``RAY_ADDRESS``, or none starts on this machine.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{asked_by}, but Ray is not installed; `pip install 'vist3a[ray]'`, or say {instead}"
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
        _check_answer(address)
        ray.init(logging_level=logging.WARNING)
        return
    # Not any cluster of this machine: Ray waits ten minutes for one that was not ended well.
    cores = max(os.cpu_count() or 1, cores)
    try:
        ray.init(address="local", num_cpus=cores, include_dashboard=False, logging_level=logging.WARNING)
    except Exception as error:  # Ray's own are no more particular
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConnectionError(
            f"no Ray cluster starts on this machine ({said}); the same command takes up what is finished"
        ) from error


def _check_answer(address: str) -> None:
    """At once: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        # Other forms of addresses (auto, local, ray://...) are Ray's to check.
        if "/" not in address and port.isdigit():
            socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except OSError as error:
        raise ConnectionError(
            f"RAY_ADDRESS is {address}, where nothing answers ({error}); allowed: auto (the one that `ray start` made on this "
            "machine), HOST:PORT of one that is up, or unset for a cluster of this run"
        ) from error


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
