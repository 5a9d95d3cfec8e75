"""Ctrl-C and SIGTERM during a run: say so in the record, then let the signal have its way.

Kedro's error hook sees only ``Exception``; without this a stopped run would look as if it were still going.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Calls ``on_interrupt(signal name)`` once, restores the former handlers and passes the signal on."""

    def __init__(self, on_interrupt: Callable[[str], None]) -> None:
        self._on_interrupt = on_interrupt
        self._former: dict[signal.Signals, Any] = {}
        self._shields = 0
        self._pending: int | None = None

    def install(self) -> None:
        """Take over the signals that are not ignored. Only the main thread may; elsewhere this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            former = signal.getsignal(number)
            # None is a handler that Python did not install and cannot put back.
            if former not in (signal.SIG_IGN, None):
                self._former[number] = former
                signal.signal(number, self._handle)

    def restore(self) -> None:
        """Put the former handlers back."""
        if threading.current_thread() is threading.main_thread():
            for number, former in self._former.items():
                signal.signal(number, former)
            self._former = {}

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """A signal inside waits for the end of the block.

        A handler runs in the middle of what the main thread does; writing to the record from within a write to the record would
        wait for itself.
        """
        main = threading.current_thread() is threading.main_thread()
        # Counted, as blocks may lie in each other; signals come to the main thread only.
        self._shields += main
        try:
            yield
        finally:
            self._shields -= main
            if main and not self._shields and self._pending is not None:
                number, self._pending = self._pending, None
                self._handle(number, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._shields:
            self._pending = number
            return
        former = self._former.get(signal.Signals(number))
        # Before the record is closed, which takes a while: a second Ctrl-C is then not held up.
        self.restore()
        self._on_interrupt(signal.Signals(number).name)
        if callable(former):
            former(number, frame)
        # Leave by an exception, so that partly written files are cleaned up on the way out.
        raise SystemExit(128 + number)
