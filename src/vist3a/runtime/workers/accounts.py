"""Who did what of a piece of work, told at its end to whoever listens: the record of a run, say."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass

from vist3a.runtime.sinks import Sinks


@dataclass(frozen=True)
class Place:
    """Where a worker is.

    Attributes:
        host: Name of the machine.
        process: Its number there.
    """

    host: str
    process: int

    @classmethod
    def here(cls) -> Place:
        """Of this process.

        Example:
            >>> Place.here().process == os.getpid()
            True
        """
        return cls(platform.node(), os.getpid())


@dataclass
class Account:
    """What one worker did.

    Attributes:
        place: Where.
        items: Finished.
        failed: Items that raised.
        seconds: At work on items, from when one is given to when its outcome is there.
        end: How it died; empty for one that did not.
    """

    place: Place
    items: int = 0
    failed: int = 0
    seconds: float = 0.0
    end: str = ""


class Roll:
    """The accounts of workers by their numbers, kept while they work; one that takes a number over has an account of its own."""

    def __init__(self) -> None:
        self.accounts: list[Account] = []
        self._of: dict[int, Account] = {}
        self._given: dict[int, float] = {}

    def ready(self, worker: int, place: Place) -> None:
        """A worker has loaded."""
        self._of[worker] = Account(place)
        self.accounts.append(self._of[worker])

    def given(self, worker: int) -> None:
        """It has an item from now on."""
        self._given[worker] = time.monotonic()

    def over(self, worker: int, *, failed: bool) -> None:
        """The outcome of its item is there."""
        account = self._of[worker]
        account.seconds += time.monotonic() - self._given.pop(worker)
        account.failed += failed
        account.items += not failed

    def died(self, worker: int, how: str) -> None:
        """It is gone, perhaps before it was ready."""
        account, given = self._of.pop(worker, None), self._given.pop(worker, None)
        if account is not None:
            account.end = how
            account.seconds += 0.0 if given is None else time.monotonic() - given


_sinks: Sinks[str, Sequence[Account]] = Sinks()
add_sink, remove_sink, listening = _sinks.add, _sinks.remove, _sinks.listening
"""``sink(title, accounts)`` is called at the end of every piece of work."""


def tell(title: str, accounts: Sequence[Account]) -> None:
    """What the workers of ``title`` did; nothing where none has loaded."""
    if accounts:
        _sinks.tell(title, accounts)
