"""Time and peak device memory of the parts of a step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vist3a.runtime.device_peak import begin_peak

PARTS_LOGGED = ("seconds/", "gibibytes/")
"""How the names of the scalars begin; they differ from run to run."""


class PartMeter:
    """``with meter("rollout"):`` measures a part; a part that comes several times in a step is summed.

    On CUDA the device is waited for at both ends. Other devices do not tell their memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cuda = device if device.type == "cuda" else None
        self._seconds: dict[str, float] = {}
        self._bytes: dict[str, int] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Measure the block; one that ends in an error is not counted."""
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        peak, start = begin_peak(self._device), time.perf_counter()
        try:
            yield
        except BaseException:
            # Without this the counter would keep this part's peak open for as long as the process lives. The device is not waited
            # for: after an error of its own that would raise another in place of the first.
            if peak is not None:
                peak.end()
            raise
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        if peak is not None:
            self._bytes[part] = max(self._bytes.get(part, 0), peak.end())
        self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - start

    def scalars(self) -> dict[str, Tensor]:
        """``seconds/PART`` and, on CUDA, ``gibibytes/PART`` since the last call."""
        found = {f"seconds/{part}": torch.tensor(value) for part, value in self._seconds.items()}
        found |= {f"gibibytes/{part}": torch.tensor(value / 2**30) for part, value in self._bytes.items()}
        self._seconds, self._bytes = {}, {}
        return found
