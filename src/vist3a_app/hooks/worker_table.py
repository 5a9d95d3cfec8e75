"""Who did what, as a table of the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vist3a.runtime.workers.accounts import Account


def worker_table(workers: Sequence[tuple[str, Account]]) -> dict[str, list[Any]]:
    """Columns with a row for each worker, with the title of its work.

    Example:
        >>> from vist3a.runtime.workers.accounts import Place
        >>> worker_table([("decode", Account(Place("node-3", 71), items=4, seconds=2.0))])["items_per_second"]
        [2.0]
    """
    accounts = [account for _, account in workers]
    return {
        "work": [title for title, _ in workers],
        "host": [account.place.host for account in accounts],
        "process": [account.place.process for account in accounts],
        "items": [account.items for account in accounts],
        "failed": [account.failed for account in accounts],
        "seconds": [account.seconds for account in accounts],
        "items_per_second": [account.items / account.seconds if account.seconds else 0.0 for account in accounts],
        "died": [account.end for account in accounts],
    }
