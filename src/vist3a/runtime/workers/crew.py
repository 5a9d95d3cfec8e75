"""The contract of workers of one kind: they are started, given items, and tell what becomes of them."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from vist3a.runtime.workers.work import Event


@runtime_checkable
class Crew(Protocol):
    """Workers by number. Each has one item at most."""

    def start(self, worker: int) -> None:
        """Have a worker load, in place of one of that number that died. ``Ready``, ``Unready`` or ``Died`` follows."""
        ...

    def give(self, worker: int, item: Any) -> None:
        """An item for a worker that is ready. ``Finished``, ``Failed`` or ``Died`` follows."""
        ...

    def wait(self) -> tuple[int, Event]:
        """What is next to happen, and to which worker."""
        ...

    def close(self) -> None:
        """End all workers, whatever they are at."""
        ...
