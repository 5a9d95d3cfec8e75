"""Workers that are actors of a Ray cluster."""

from __future__ import annotations

import logging
import pickle
import sys
from pathlib import Path
from typing import Any

from vist3a.runtime.numerics import Numerics
from vist3a.runtime.ray_cluster import connected, enter
from vist3a.runtime.workers.accounts import Place
from vist3a.runtime.workers.settings import WorkerSettings
from vist3a.runtime.workers.work import Died, Event, Load, Ready, Unready, attempt, portable

logger = logging.getLogger(__name__)

ROOM_SECONDS = 60.0
"""After so long without any event it is told that workers may be waiting for room."""


class RayCrew:
    """An actor for each worker, on a GPU of its own where ``cuda``.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: No cluster answers at ``RAY_ADDRESS``.
    """

    def __init__(self, load: Load[Any, Any], settings: WorkerSettings, cuda: bool) -> None:
        self._ray = connected("workers.kind: ray", "here or processes", round(settings.count * settings.cpus))
        # Packed by us: an actor can unpack it only when it finds the same modules.
        self._load = self._ray.put(pickle.dumps(load))
        self._about = (Numerics.of_this_process(), Path.cwd(), list(sys.path))
        self._actor = self._ray.remote(num_cpus=settings.cpus, num_gpus=int(cuda))(_Actor)
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
            enter(folder, modules)
            numerics.put_up()
            self._work = pickle.loads(load)()
        except Exception as error:
            return Unready(portable(error))
        return Ready(Place.here())

    def take(self, item: Any) -> Event:
        return attempt(self._work, item)
