"""This process among those that train one network together, as torchrun starts them.

What a step draws depends on (seed, step) only and is shared out, so that the number of processes changes nothing but rounding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process (``rank``) among ``count``."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Every ``count``-th item; the shares of all processes are the whole."""
        return list(items[self.rank :: self.count])


ALONE = Processes()


def started() -> Processes:
    """What torchrun says about this process; one process where it says nothing."""
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
