"""Pictures of a training in progress, without knowing who keeps them; as :mod:`vist3a.runtime.step_log` for numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vist3a.runtime.sinks import Sinks

PictureLog = Callable[[int, np.ndarray], None]

_sinks: Sinks[str, int, np.ndarray] = Sinks()
add_picture_sink, remove_picture_sink = _sinks.add, _sinks.remove
"""``sink(name, step, picture)`` is called for every picture."""


def picture_log(name: str) -> PictureLog:
    """A log of pictures, bytes [height, width, 3], called ``name``; sinks registered later are served too."""

    def log(step: int, picture: np.ndarray) -> None:
        tell_picture(name, step, picture)

    return log


def tell_picture(name: str, step: int, picture: np.ndarray) -> None:
    """One picture to all sinks."""
    _sinks.tell(name, step, picture)
