"""Time and highest memory of a piece of work."""

from __future__ import annotations

import sys
import threading
import time

import psutil

MIB = 2**20
INTERVAL = 0.05


class Usage:
    """Started at construction; :meth:`stop` gives seconds and the highest resident memory in between.

    The operating system keeps only the highest value since the process began, so a thread looks every few hundredths of
    a second. Pieces may overlap: each has its own thread.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._peak = self._process.memory_info().rss
        self._start = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)
        _reset_cuda_peak()
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Seconds, peak memory in MiB and, where CUDA was used, its peak."""
        self._over.set()
        self._thread.join()
        self._look()
        usage = {"seconds": time.monotonic() - self._start, "peak_memory_mib": self._peak / MIB}
        cuda = _cuda_peak()
        if cuda > 0:
            usage["peak_cuda_memory_mib"] = cuda / MIB
        return usage

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)


def _reset_cuda_peak() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def _cuda_peak() -> float:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0.0
    return float(torch.cuda.max_memory_allocated())
