"""Peaks of nested and overlapping pieces of work on one counter, against the highest value each of them really saw."""

from __future__ import annotations

import random

from vist3a.runtime.device_peak import Peak, PeakCounter


class FakedMemory:
    """A device whose allocated memory is set by hand, with the one counter that CUDA has."""

    def __init__(self) -> None:
        self.now = self.highest = 0
        self.peaks = PeakCounter(lambda: self.highest, self.restart)

    def restart(self) -> None:
        self.highest = self.now

    def allocate(self, value: int) -> None:
        self.now = value
        self.highest = max(self.highest, value)


def test_a_part_does_not_hide_the_peak_of_the_stage() -> None:
    memory = FakedMemory()
    stage = memory.peaks.begin()
    memory.allocate(70)
    memory.allocate(10)
    for high in (40, 30):
        part = memory.peaks.begin()
        memory.allocate(high)
        memory.allocate(5)
        assert part.end() == high
    memory.allocate(7)
    assert stage.end() == 70
    # Who comes late may ask for the whole program.
    assert memory.peaks.begin().end() == 7
    assert memory.peaks.begin(from_start=True).end() == 70


def test_any_nesting_gives_the_true_peaks() -> None:
    draw = random.Random(4)
    memory = FakedMemory()
    running: list[tuple[Peak, list[int]]] = []
    for _ in range(3000):
        action = draw.random()
        if action < 0.2:
            running.append((memory.peaks.begin(), [memory.now]))
        elif action < 0.35 and running:
            peak, seen = running.pop(draw.randrange(len(running)))
            assert peak.end() == max(seen)
        else:
            memory.allocate(draw.randrange(1000))
            for _, seen in running:
                seen.append(memory.now)
