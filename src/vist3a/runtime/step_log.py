"""Step curves without knowing who keeps them.

A node or a training function asks for ``step_log("distill")`` and calls the result with a step and named scalars. Each call
is one line in the log; whoever registered a sink (the run record, a test, a notebook) receives the same numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from vist3a.runtime.sinks import Sinks

Log = Callable[[int, Mapping[str, float]], None]

logger = logging.getLogger(__name__)
_sinks: Sinks[str, int, Mapping[str, float]] = Sinks()
add_sink, remove_sink, listening = _sinks.add, _sinks.remove, _sinks.listening
"""``sink(name, step, scalars)`` is called at every logged step."""


def step_log(name: str) -> Log:
    """A log of curves called ``name/<scalar>``; sinks registered later are served too."""

    def log(step: int, scalars: Mapping[str, float]) -> None:
        logger.info("%s step %d: %s", name, step, "  ".join(f"{k} {v:.4g}" for k, v in scalars.items()))
        tell(name, step, scalars)

    return log


def tell(name: str, step: int, scalars: Mapping[str, float]) -> None:
    """One step of a curve to all sinks, and no line in the log."""
    _sinks.tell(name, step, scalars)
