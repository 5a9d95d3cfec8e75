"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vist3a.runtime.numerics import Numerics
from vist3a.runtime.workers.accounts import Place
from vist3a.runtime.workers.work import Died, Event, Load, Ready, Unready, attempt, portable

# A process of its own from the start: threads and CUDA do not live through a fork.
_CONTEXT = multiprocessing.get_context("spawn")
_GRACE = 10.0


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    connection: Connection


class LocalCrew:
    """A process for each worker; none outlives this one."""

    def __init__(self, load: Load[Any, Any]) -> None:
        # Packed by us, here and below: torch would pass its tensors on by open files, which end with whoever opened them. In a
        # file, as long lists of prompts in a pipe would wait for ever for a process that dies as it begins.
        self._folder = TemporaryDirectory(prefix="vist3a-workers-")
        self._load = Path(self._folder.name) / "load"
        self._load.write_bytes(pickle.dumps(load))
        self._numerics = Numerics.of_this_process()
        self._workers: dict[int, _Worker] = {}

    def start(self, worker: int) -> None:
        """See :class:`vist3a.runtime.workers.crew.Crew`."""
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(
            target=_serve, args=(self._load, theirs, worker, self._numerics), name=f"worker-{worker}", daemon=True
        )
        process.start()
        # Only the worker holds its end now: when it dies, ours says so.
        theirs.close()
        self._workers[worker] = _Worker(process, ours)

    def give(self, worker: int, item: Any) -> None:
        """See :class:`vist3a.runtime.workers.crew.Crew`."""
        # One that died while it had nothing to do takes none; ``wait`` tells.
        with suppress(OSError):
            self._workers[worker].connection.send_bytes(pickle.dumps(item))

    def wait(self) -> tuple[int, Event]:
        """See :class:`vist3a.runtime.workers.crew.Crew`."""
        numbers = {one.connection: number for number, one in self._workers.items()}
        (first, *_) = wait(list(numbers))
        number = numbers[first]  # type: ignore[index]
        try:
            return number, pickle.loads(self._workers[number].connection.recv_bytes())
        except (EOFError, OSError):
            return number, Died(self._bury(number))

    def close(self) -> None:
        """See :class:`vist3a.runtime.workers.crew.Crew`."""
        for one in self._workers.values():
            one.process.terminate()
        for number in list(self._workers):
            self._bury(number)
        self._folder.cleanup()

    def _bury(self, number: int) -> str:
        """How a process ended; it has by now, or is made to."""
        worker = self._workers.pop(number)
        worker.connection.close()
        worker.process.join(_GRACE)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join()
        code = worker.process.exitcode or 0
        worker.process.close()
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _serve(load: Path, connection: Connection, worker: int, numerics: Numerics) -> None:
    """What a worker's process does: load, then take items until the connection ends."""
    # Ctrl-C in a terminal reaches all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        numerics.put_up()
        _take_a_gpu(worker)
        work = pickle.loads(load.read_bytes())()
    except Exception as error:
        connection.send_bytes(pickle.dumps(Unready(portable(error))))
        return
    connection.send_bytes(pickle.dumps(Ready(Place.here())))
    while True:
        try:
            item = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        connection.send_bytes(pickle.dumps(attempt(work, item)))


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    # Whatever it is at: nobody asks for it any more, and files appear whole or not at all.
    os._exit(1)


def _take_a_gpu(worker: int) -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(worker % torch.cuda.device_count())
