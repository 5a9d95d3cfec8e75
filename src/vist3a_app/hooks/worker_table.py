"""Who did what, as a table of the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vist3a.runtime.workers.accounts import Account


def worker_table(title: str, workers: Sequence[Account]) -> dict[str, list[Any]]:
    """Columns with a row for each worker of a piece of work.

    Example:
        >>> from vist3a.runtime.workers.accounts import Place
        >>> worker_table("decode", [Account(Place("node-3", 71), items=4, seconds=2.0)])["items_per_second"]
        [2.0]
    """
    return {
        "work": [title for _ in workers],
        "host": [worker.place.host for worker in workers],
        "process": [worker.place.process for worker in workers],
        "items": [worker.items for worker in workers],
        "failed": [worker.failed for worker in workers],
        "seconds": [worker.seconds for worker in workers],
        "items_per_second": [worker.items / worker.seconds if worker.seconds else 0.0 for worker in workers],
        "died": [worker.end for worker in workers],
    }
