"""Seconds and peaks of memory of a piece of work."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from vist3a.runtime.device_peak import begin_peak

GIB = 2**30
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """``device_gib`` is 0 where there is no GPU; ``note`` says why a stage did not end, or what it made."""

    seconds: float
    device_gib: float
    host_gib: float
    done: bool
    note: str = ""


def measure(work: Callable[[], str], device: torch.device) -> Measured:
    """Run ``work``, whose text becomes the note. Too little memory on the device is a result, any other error an error."""
    # What the stage before left behind must not count for this one.
    gc.collect()
    _reset_host_peak()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    memory = begin_peak(device)
    start, done = time.perf_counter(), True
    try:
        note = work()
    except torch.OutOfMemoryError as error:
        note, done = f"out of device memory: {str(error).split('. ')[0]}", False
    if device.type == "cuda":
        # Kernels run on after the call that started them.
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    peak = 0.0 if memory is None else memory.end() / GIB
    return Measured(seconds, peak, _host_peak() / GIB, done, note)


def _reset_host_peak() -> None:
    """From now on Linux counts the peak anew (where it may not, peaks are those since the start of the process)."""
    try:
        # 5 resets the peak alone (man 5 proc).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _host_peak() -> int:
    """Bytes of the largest resident set."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    # Where there is no /proc: the peak since the start of the process.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
