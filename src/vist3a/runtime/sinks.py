"""Who wants to be told of something that happens, without those whom it happens to knowing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec

P = ParamSpec("P")


class Sinks(Generic[P]):
    """Callables that are told, in the order in which they came.

    Example:
        >>> sinks, told = Sinks(), []
        >>> with sinks.listening(told.append):
        ...     sinks.tell("now")
        >>> told
        ['now']
    """

    def __init__(self) -> None:
        self._all: list[Callable[P, None]] = []

    def tell(self, *given: P.args, **named: P.kwargs) -> None:
        """Call all of them."""
        # One that is told may end its own registration.
        for sink in tuple(self._all):
            sink(*given, **named)

    def add(self, sink: Callable[P, None]) -> None:
        """From now on it is told."""
        self._all.append(sink)

    def remove(self, sink: Callable[P, None]) -> None:
        """End what :meth:`add` began; unknown ones are ignored."""
        if sink in self._all:
            self._all.remove(sink)

    @contextmanager
    def listening(self, sink: Callable[P, None]) -> Iterator[None]:
        """Told for the length of a ``with`` block."""
        self.add(sink)
        try:
            yield
        finally:
            self.remove(sink)
