"""The alarm on planted series."""

from __future__ import annotations

import logging

import pytest
import torch

from vist3a.alignment.drift import DriftAlarm

SENTENCE = (
    "the reward rises (0 to 4) while the judge falls (10 to 6) between steps 0 and 40 on the same prompts and noise"
)


def planted(reward: list[float], judge: list[float]) -> dict[int, tuple[float, float]]:
    return {10 * i: (float(r), float(j)) for i, (r, j) in enumerate(zip(reward, judge, strict=True))}


def alarms(series: dict[int, tuple[float, float]], window: int = 5) -> list[int]:
    """Steps at which the two count as apart, told step by step."""
    alarm = DriftAlarm(window)
    return [step for step in series if alarm({k: v for k, v in series.items() if k <= step})]


def test_it_warns_once_in_one_sentence(caplog: pytest.LogCaptureFixture) -> None:
    series = planted([0, 1, 2, 3, 4, 5, 6], [10, 9, 8, 7, 6, 5, 4])
    with caplog.at_level(logging.WARNING, "vist3a"):
        assert alarms(series) == [40, 50, 60]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(SENTENCE)
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("reward", "judge"),
    [
        ([0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]),
        ([5, 4, 3, 2, 1, 0], [6, 5, 4, 3, 2, 1]),
        ([0, 1, 2, 3, 4, 5], [3, 1, 4, 1, 5, 9]),
        ([0, 0, 0, 0, 0, 0], [6, 5, 4, 3, 2, 1]),
    ],
    ids=["both rise", "both fall", "judge wanders", "reward stands"],
)
def test_it_keeps_quiet(reward: list[float], judge: list[float]) -> None:
    assert alarms(planted(reward, judge)) == []


def test_trends_within_noise_are_found() -> None:
    noise = 0.3 * torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    reward, judge = torch.arange(10) + noise[0], -torch.arange(10) + noise[1]
    assert alarms(planted(reward.tolist(), judge.tolist()), window=8)[0] == 70


def test_independent_noise_rarely_alarms() -> None:
    """Both trends by chance: at most 0.05 squared."""
    noise = torch.rand(2000, 2, 6, generator=torch.Generator().manual_seed(2)).tolist()
    assert sum(bool(alarms(planted(*pair), window=6)) for pair in noise) <= 0.0025 * 2000 + 5


def test_it_warns_again_after_a_pause(caplog: pytest.LogCaptureFixture) -> None:
    reward = [*range(5), *range(5, 0, -1), *range(6)]
    judge = [*range(5, 0, -1), *range(1, 6), *range(9, 3, -1)]
    with caplog.at_level(logging.WARNING, "vist3a"):
        alarms(planted([float(r) for r in reward], [float(j) for j in judge]))
    assert len(caplog.records) == 2
