"""What a worker does, and what comes of it."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from vist3a.runtime.error_origin import send_origin
from vist3a.runtime.workers.accounts import Place

Item = TypeVar("Item")
Result = TypeVar("Result")

Done = Callable[[int], None]
"""Told how many units of progress (clips, steps) are newly done."""
Work: TypeAlias = Callable[[Item, Done], Result]
"""What is done with one item, by networks that are loaded."""
Load: TypeAlias = Callable[[], Work[Item, Result]]
"""Loads networks and gives the work. It travels to the workers, so it is picklable: a ``functools.partial`` of a function of a
module, over settings and paths."""


class WorkerDiedError(RuntimeError):
    """Workers died, one after the other, over one item or while they loaded."""


@dataclass(frozen=True)
class Finished(Generic[Result]):
    """The result of an item."""

    value: Result
    units: int = 0


@dataclass(frozen=True)
class Failed:
    """Why there is no result of an item; the other items are none the worse for it."""

    error: Exception
    units: int = 0

    @property
    def reason(self) -> str:
        """In one line."""
        found = " ".join(str(self.error).split())
        return (
            found if isinstance(self.error, ValueError | WorkerDiedError) else f"{type(self.error).__name__}: {found}"
        )


Outcome: TypeAlias = Finished[Result] | Failed


@dataclass(frozen=True)
class Ready:
    """A worker has loaded, and where it is."""

    place: Place


@dataclass(frozen=True)
class Unready:
    """A worker could not load: no other could."""

    error: Exception


@dataclass(frozen=True)
class Died:
    """A worker is gone, and with it what it was at."""

    how: str


Event: TypeAlias = Ready | Unready | Died | Finished[Any] | Failed


def attempt(work: Work[Item, Result], item: Item) -> Outcome[Result]:
    """What comes of an item, ready to be sent."""
    units = 0

    def done(count: int) -> None:
        nonlocal units
        units += count

    try:
        return Finished(work(item, done), units)
    except Exception as error:
        return Failed(portable(error), units)


def portable(error: Exception) -> Exception:
    """The error as it can be sent to another process, with where it was raised as a note."""
    send_origin(error)
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of a class that does not come back from its arguments
        named = RuntimeError(f"{type(error).__name__}: {error}")
        named.__dict__.update(error.__dict__)
        return named
    return error
