"""Parts of a step: what is counted, and what an error leaves behind."""

from __future__ import annotations

import pytest
import torch

from vist3a.runtime import part_meter
from vist3a.runtime.device_peak import PeakCounter
from vist3a.runtime.part_meter import PartMeter


def test_a_part_that_fails_is_not_counted_and_leaves_no_peak_open(monkeypatch: pytest.MonkeyPatch) -> None:
    # The CPU does not tell its memory: a counter that always reads three bytes stands for a device that does.
    counter = PeakCounter(lambda: 3, lambda: None)
    monkeypatch.setattr(part_meter, "begin_peak", lambda _: counter.begin())
    meter = PartMeter(torch.device("cpu"))
    with meter("rollout"):
        pass
    with pytest.raises(RuntimeError, match="out of memory"), meter("reward"):
        raise RuntimeError("out of memory")
    assert not counter._open
    assert meter.scalars().keys() == {"seconds/rollout", "gibibytes/rollout"}
    assert meter.scalars() == {}
