"""Progress: items pass unchanged; outside of a terminal a line in the log says rate and time left."""

from __future__ import annotations

import logging

import pytest

from vist3a.runtime import progress
from vist3a.runtime.step_log import listening


def test_items_pass_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.progress(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_the_log_says_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter([0.0, 30.0, 61.0, 70.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    told: list[tuple[str, int, dict[str, float]]] = []
    sink = listening(lambda name, step, scalars: told.append((name, step, dict(scalars))))
    with caplog.at_level(logging.INFO), sink, progress.counting("clips", 244) as done:
        for _ in range(3):
            done(61)
    assert [record.getMessage() for record in caplog.records] == ["clips: 122 of 244, 2/s, 61 s left"]
    assert told == [("progress/clips", 122, {"of": 244, "per_second": 2.0, "seconds_left": 61.0})]


def test_what_an_earlier_run_has_done_is_no_speed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 61.0, 100.0, 110.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), progress.counting("clips", 1000, before=900) as done:
        # A clip that failed: nothing is known of the speed.
        done(0)
        done(50)
    assert [record.getMessage() for record in caplog.records] == ["clips: 950 of 1000, 0.5/s, 100 s left"]
