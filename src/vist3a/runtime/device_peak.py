"""Highest device memory of pieces of work that contain each other. CUDA keeps one counter, which any of them may restart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache

import torch


class PeakCounter:
    """Shares one counter of a highest value: whoever restarts it, the others keep what they have seen.

    ``read`` gives the highest value since ``restart``, which makes it the present value.
    """

    def __init__(self, read: Callable[[], int], restart: Callable[[], None]) -> None:
        self._read, self._restart = read, restart
        self._open: list[Peak] = []
        self._ever = 0
        self._lock = threading.Lock()

    def begin(self, from_start: bool = False) -> Peak:
        """A piece of work starts now, or with the program (``from_start``)."""
        with self._lock:
            # The counter starts anew: those that are open keep what it has seen until now.
            self._note()
            self._restart()
            peak = Peak(self)
            if from_start:
                peak.value = self._ever
            self._open.append(peak)
        return peak

    def end(self, peak: Peak) -> int:
        """The highest value since ``peak`` began."""
        with self._lock:
            self._note()
            if peak in self._open:
                self._open.remove(peak)
        return peak.value

    def _note(self) -> None:
        seen = self._read()
        self._ever = max(self._ever, seen)
        for peak in self._open:
            peak.value = max(peak.value, seen)


class Peak:
    """A piece of work that began; ``value`` is the highest that was seen of it so far."""

    def __init__(self, counter: PeakCounter) -> None:
        self._counter, self.value = counter, 0

    def end(self) -> int:
        """Its highest value, in bytes."""
        return self._counter.end(self)


@cache
def device_peaks(index: int) -> PeakCounter:
    """The counter of a CUDA device's allocated memory."""
    return PeakCounter(
        lambda: torch.cuda.max_memory_allocated(index), lambda: torch.cuda.reset_peak_memory_stats(index)
    )


def begin_peak(device: torch.device) -> Peak | None:
    """Start to watch the memory of a CUDA device; None for others, which do not tell theirs."""
    if device.type != "cuda":
        return None
    return device_peaks(torch.cuda.current_device() if device.index is None else device.index).begin()
