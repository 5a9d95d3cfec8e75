"""Step curves without knowing who keeps them.

A node or a training function asks for ``step_log("distill")`` and calls the result with a step and named scalars. Each call
is one line in the log; whoever registered a sink (the run record, a test, a notebook) receives the same numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Log = Callable[[int, Mapping[str, float]], None]
Sink = Callable[[str, int, Mapping[str, float]], None]

logger = logging.getLogger(__name__)
_sinks: list[Sink] = []


def step_log(name: str) -> Log:
    """A log of curves called ``name/<scalar>``; sinks registered later are served too."""

    def log(step: int, scalars: Mapping[str, float]) -> None:
        logger.info("%s step %d: %s", name, step, "  ".join(f"{k} {v:.4g}" for k, v in scalars.items()))
        tell(name, step, scalars)

    return log


def tell(name: str, step: int, scalars: Mapping[str, float]) -> None:
    """One step of a curve to all sinks, and no line in the log."""
    for sink in tuple(_sinks):
        sink(name, step, scalars)


def add_sink(sink: Sink) -> None:
    """From now on ``sink(name, step, scalars)`` is called at every logged step."""
    _sinks.append(sink)


def remove_sink(sink: Sink) -> None:
    """End what :func:`add_sink` began; unknown sinks are ignored."""
    if sink in _sinks:
        _sinks.remove(sink)


@contextmanager
def listening(sink: Sink) -> Iterator[None]:
    """Register a sink for the length of a ``with`` block."""
    add_sink(sink)
    try:
        yield
    finally:
        remove_sink(sink)
