"""Workers that are actors of a Ray cluster: the one that ``RAY_ADDRESS`` names, else one of this machine for this run."""

from __future__ import annotations

import logging
import os
import pickle
import platform
import sys
from pathlib import Path
from typing import Any

from vist3a.runtime.numerics import Numerics
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Died, Event, Load, Ready, Unready, attempt, portable

logger = logging.getLogger(__name__)

ROOM_SECONDS = 60.0
"""After so long without any event it is told that workers may be waiting for room."""


class RayCrew:
    """An actor for each worker, on a GPU of its own where ``cuda``.

    The cluster stays up to the end of this process, for what comes next.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """

    def __init__(self, load: Load[Any, Any], settings: WorkerSettings, cuda: bool) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "workers.kind: ray, but Ray is not installed; `pip install 'vist3a[ray]'`, or say here or processes"
            ) from error
        self._ray = ray
        if not ray.is_initialized():
            _connect(ray, settings)
        # Packed by us: an actor can unpack it only when it finds the same modules.
        self._load = ray.put(pickle.dumps(load))
        self._about = (Numerics.of_this_process(), Path.cwd(), list(sys.path))
        self._actor = ray.remote(num_cpus=settings.cpus, num_gpus=int(cuda))(_Actor)
        self._actors: dict[int, Any] = {}
        self._coming: dict[Any, int] = {}

    def start(self, worker: int) -> None:
        """See :class:`vist3a.runtime.workers.crew.Crew`."""
        actor = self._actors[worker] = self._actor.remote()
        self._coming[actor.load.remote(self._load, *self._about)] = worker

    def give(self, worker: int, item: Any) -> None:
        """See :class:`vist3a.runtime.workers.crew.Crew`."""
        self._coming[self._actors[worker].take.remote(item)] = worker

    def wait(self) -> tuple[int, Event]:
        """See :class:`vist3a.runtime.workers.crew.Crew`."""
        found: list[Any] = []
        while not found:
            found, _ = self._ray.wait(list(self._coming), num_returns=1, timeout=ROOM_SECONDS)
            if not found:
                free = self._ray.available_resources()
                logger.info("%d Ray workers are at work or wait for room; free in the cluster: CPU %g, GPU %g",
                            len(self._coming), free.get("CPU", 0), free.get("GPU", 0))  # fmt: skip
        worker = self._coming.pop(found[0])
        try:
            return worker, self._ray.get(found[0])
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            # The process, its memory or its machine is gone, or out of reach: in any case another one takes its place.
            self._ray.kill(self._actors.pop(worker))
            return worker, Died(str(error).strip().partition("\n")[0])

    def close(self) -> None:
        """See :class:`vist3a.runtime.workers.crew.Crew`."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors, self._coming = {}, {}


class _Actor:
    """One worker; a method for everything that it is told."""

    def __init__(self) -> None:
        self._work: Any = None

    def load(self, load: bytes, numerics: Numerics, folder: Path, modules: list[str]) -> Event:
        try:
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"{folder} is not there on {platform.node()}; allowed: a cluster whose machines all see the folder that "
                    "the run is started in"
                )
            # Paths of the settings start there, on every machine.
            os.chdir(folder)
            sys.path += [place for place in modules if place not in sys.path]
            numerics.put_up()
            self._work = pickle.loads(load)()
        except Exception as error:
            return Unready(portable(error))
        return Ready()

    def take(self, item: Any) -> Event:
        return attempt(self._work, item)


def _connect(ray: Any, settings: WorkerSettings) -> None:
    # Ray would report its use to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING)
        return
    # Not any cluster of this machine: Ray waits ten minutes for one that was not ended well. As many cores as are asked for, also
    # where there are fewer: the workers then take turns.
    cores = max(os.cpu_count() or 1, round(settings.count * settings.cpus))
    ray.init(address="local", num_cpus=cores, include_dashboard=False, logging_level=logging.WARNING)
