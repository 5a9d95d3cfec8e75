"""Progress of long loops: a bar with rate and time left in a terminal; elsewhere a line in the log now and then.

Both tell the curves ``progress/TITLE`` of :mod:`vist3a.runtime.step_log`, over what is done: rate and seconds left.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from vist3a.runtime.step_log import tell

Item = TypeVar("Item")

LOG_SECONDS = 60.0

logger = logging.getLogger(__name__)


def progress(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """Iterate over ``items`` under a progress bar on standard error."""
    with counting(title, total) as done:
        for item in items:
            yield item
            done(1)


@contextmanager
def counting(title: str, total: int, before: int = 0) -> Iterator[Callable[[int], None]]:
    """A progress bar for loops that say themselves how many of ``total`` items are newly done.

    ``before`` were done by an earlier run: they are progress, and no measure of speed.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items per second."""

        def render(self, task: Task) -> Text:
            """The rate, once it is known."""
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g}/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    terminal = sys.stderr.isatty()
    with Progress(*columns, console=Console(file=sys.stderr), disable=not terminal) as bar:
        task = bar.add_task(title, total=total, completed=before)
        start = told = time.monotonic()
        count = before

        def done(items: int) -> None:
            nonlocal count, told
            count += items
            bar.advance(task, items)
            now = time.monotonic()
            if now - told > LOG_SECONDS and count > before:
                told, rate = now, (count - before) / (now - start)
                left = (total - count) / rate
                tell(f"progress/{title}", count, {"of": float(total), "per_second": rate, "seconds_left": left})
                # A bar would fill a log file: there it is a line a minute.
                if not terminal:
                    logger.info("%s: %d of %d, %.3g/s, %.0f s left", title, count, total, rate, left)

        yield done
