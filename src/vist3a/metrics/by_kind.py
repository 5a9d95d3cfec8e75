"""Shares of prompts that a judge finds right, by kind of prompt: before and after, with intervals, and which are the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Scores = Mapping[str, Sequence[float]]
VERDICTS = "accuracy/"
"""Before the names of figures that say of each prompt whether it is right."""
WORST = 3
"""So many kinds are named at most."""


def share_interval(right: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of ``right`` out of ``count``; unlike a bootstrap's it has a width where all are right.

    Example:
        >>> share_interval(9, 9)
        (0.7008549515804559, 1.0)
    """
    from scipy.stats import binomtest

    found = binomtest(right, count).proportion_ci(level, "wilson")
    return float(found.low), float(found.high)


def figures_by_kind(kinds: Sequence[Sequence[str]], before: Scores, after: Scores) -> dict[str, Any]:
    """Shares by figure and kind, and the worst kinds of every figure; of ``accuracy/...`` alone, whatever else was scored.

    Args:
        kinds: Of every prompt, each once.
        before: By figure one value per prompt, in the order of ``kinds``; 1 or 0 where the figure is a verdict.
        after: The same figures of the same prompts.

    Returns:
        ``rows``: per figure and kind ``prompts`` (how many), and the shares ``before`` and ``after`` with the ends of their 95 %
        intervals over prompts, ``before_low``, ``before_high``, ``after_low``, ``after_high``. ``worst``: by figure the names of
        up to three kinds, the worst first: of those whose share after lies below that of all prompts, the ones whose interval
        ends lowest, so that a kind of one or two prompts is not named for an accident.

    Raises:
        ValueError: A verdict has another number of values than there are prompts, or values that are neither 0 nor 1.

    Example:
        >>> kinds, right = [["red"]] * 9 + [["blue"]] * 9, [1] * 9 + [0] * 9
        >>> figures_by_kind(kinds, {"accuracy/decoded": [1] * 18}, {"accuracy/decoded": right})["worst"]
        {'accuracy/decoded': ['blue']}
    """
    names = sorted({kind for own in kinds for kind in own})
    rows: list[dict[str, Any]] = []
    worst: dict[str, list[str]] = {}
    for figure in (name for name in before if name.startswith(VERDICTS)):
        states = {"before": _verdicts(figure, before, len(kinds)), "after": _verdicts(figure, after, len(kinds))}
        own = []
        for name in names:
            of_kind = np.array([name in one for one in kinds])
            row: dict[str, Any] = {"figure": figure, "kind": name, "prompts": int(of_kind.sum())}
            for state, values in states.items():
                right = int(values[of_kind].sum())
                low, high = share_interval(right, row["prompts"])
                row |= {state: right / row["prompts"], f"{state}_low": low, f"{state}_high": high}
            own.append(row)
        below = [row for row in own if row["after"] < states["after"].mean()]
        worst[figure] = [row["kind"] for row in sorted(below, key=lambda row: float(row["after_high"]))[:WORST]]
        rows += own
    return {"rows": rows, "worst": worst}


def worst_lines(kinds: Mapping[str, Any]) -> list[str]:
    """Markdown of what :func:`figures_by_kind` gave: a line per figure, each of its worst kinds with share, interval and prompts.

    Example:
        >>> worst_lines(figures_by_kind([["red"], ["blue"]], {"accuracy/decoded": [1, 1]}, {"accuracy/decoded": [1, 0]}))
        ['- accuracy/decoded: blue 0% (0% to 79%, 1 prompt)']
    """
    lines = []
    for figure, names in kinds["worst"].items():
        rows = {row["kind"]: row for row in kinds["rows"] if row["figure"] == figure}
        told = [_told(rows[name]) for name in names]
        lines.append(f"- {figure}: {', '.join(told) or 'no kind is below the mean of all prompts'}")
    return lines


def _told(row: Mapping[str, Any]) -> str:
    prompts = f"{row['prompts']} prompt{'s' * (row['prompts'] > 1)}"
    return f"{row['kind']} {row['after']:.0%} ({row['after_low']:.0%} to {row['after_high']:.0%}, {prompts})"


def _verdicts(figure: str, given: Scores, count: int) -> np.typing.NDArray[np.float64]:
    values = np.asarray(given[figure], dtype=np.float64)
    if values.shape != (count,) or not np.isin(values, (0.0, 1.0)).all():
        raise ValueError(f"{figure} has {values.shape} values of {count} prompts; allowed: 0 or 1 for each prompt")
    return values
