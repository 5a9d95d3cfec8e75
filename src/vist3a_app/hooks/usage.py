"""Time and highest memory of a piece of work."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from vist3a.runtime.device_peak import Peak

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
        self._cuda = _begin_cuda_peak()
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Seconds, peak memory in MiB and, where CUDA was used, its peak."""
        self._over.set()
        self._thread.join()
        self._look()
        usage = {"seconds": time.monotonic() - self._start, "peak_memory_mib": self._peak / MIB}
        # Where the work itself was the first to use CUDA, the counter is all its own.
        cuda = self._cuda or _begin_cuda_peak(from_start=True)
        if cuda is not None and (peak := cuda.end()) > 0:
            usage["peak_cuda_memory_mib"] = peak / MIB
        return usage

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)


def _begin_cuda_peak(from_start: bool = False) -> Peak | None:
    """Watch the memory of the current CUDA device, from now on or since the program began; None where CUDA is not in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    from vist3a.runtime.device_peak import device_peaks

    return device_peaks(torch.cuda.current_device()).begin(from_start)
