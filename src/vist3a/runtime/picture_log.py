"""Pictures of a training in progress, without knowing who keeps them; as :mod:`vist3a.runtime.step_log` for numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PictureLog = Callable[[int, np.ndarray], None]
PictureSink = Callable[[str, int, np.ndarray], None]

_sinks: list[PictureSink] = []


def picture_log(name: str) -> PictureLog:
    """A log of pictures, bytes [height, width, 3], called ``name``; sinks registered later are served too."""

    def log(step: int, picture: np.ndarray) -> None:
        tell_picture(name, step, picture)

    return log


def tell_picture(name: str, step: int, picture: np.ndarray) -> None:
    """One picture to all sinks."""
    for sink in tuple(_sinks):
        sink(name, step, picture)


def add_picture_sink(sink: PictureSink) -> None:
    """From now on ``sink(name, step, picture)`` is called for every picture."""
    _sinks.append(sink)


def remove_picture_sink(sink: PictureSink) -> None:
    """End what :func:`add_picture_sink` began; unknown sinks are ignored."""
    if sink in _sinks:
        _sinks.remove(sink)
