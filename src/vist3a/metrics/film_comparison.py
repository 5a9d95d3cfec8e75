"""Films of one generator before and after a change, beside true clips: figures with intervals, and what they say in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vist3a.metrics.aggregate import bootstrap_interval, paired_difference, ratio_of_means

Rows = Mapping[str, Sequence[float]]
"""Figures by name, one value per film (see :func:`vist3a.metrics.video.film_rows`)."""


def compare_films(
    before: Rows,
    after: Rows,
    clips: Rows,
    motion_bar: float,
    seed: int,
    diversity: tuple[Sequence[float], Sequence[float]] = ((), ()),
) -> dict[str, Any]:
    """Paired differences of every figure, their share of true clips', diversity, and one sentence for each of the four.

    Args:
        before: Films of the generator as it was, one per prompt.
        after: Films of the same prompts from the same noise.
        clips: True clips, as many as there are.
        motion_bar: Share of the motion of true clips that is to be kept.
        seed: Draws the resamples of the intervals (95 %, bootstrap).
        diversity: Mean distance of films of one prompt, one value per prompt, before and after; empty: not measured.

    Returns:
        What can be said of these figures: a name that a side lacks, or has no finite value of, is left out.

    Example:
        >>> rows = {"motion": [0.2, 0.4]}
        >>> compare_films(rows, {"motion": [0.1, 0.3]}, {"motion": [0.3]}, 0.85, 0)["statements"]["motion"]
        'the aligned generator does not keep the motion: 0.2, which is 0.67 (0.33 to 1.00) of true clips', under the bar of 0.85'
    """
    report: dict[str, Any] = {"clips": _means(clips, seed)}
    report |= {
        name: paired_difference(before[name], after[name], seed) for name in before if _pairs(before, after, name)
    }
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for name in ("motion", "flicker"):
        found = {state: ratio_of_means(rows.get(name, ()), clips.get(name, ()), seed, paired=False)
                 for state, rows in (("before", before), ("after", after))}  # fmt: skip
        if named := {state: ratio for state, ratio in found.items() if ratio is not None}:
            shares[name] = named
    report["share_of_clips"] = shares
    first, second = diversity
    if first and second:
        report["diversity"] = paired_difference(first, second, seed)
        if ratio := ratio_of_means(second, first, seed, paired=True):
            report["diversity"] |= ratio
    return report | {"statements": _statements(report, motion_bar)}


def _statements(report: Mapping[str, Any], motion_bar: float) -> dict[str, str]:
    told, shares = {}, report["share_of_clips"]
    if one := report.get("rerender"):
        told["rerender"] = (
            f"films re-render at {one['after']:.2f} dB, unaligned at {one['before']:.2f} dB: {one['difference']:+.2f} "
            f"({one['difference_low']:+.2f} to {one['difference_high']:+.2f})"
        )
    if "after" in shares.get("motion", {}):
        share = shares["motion"]["after"]
        kept = share["ratio"] >= motion_bar
        # The share's own numerator: films without a partner before count in it as well.
        value = share["ratio"] * report["clips"]["motion"]["mean"]
        told["motion"] = (
            f"the aligned generator {'keeps' if kept else 'does not keep'} the motion: {value:.3g}, which is {_share(share)} of "
            f"true clips', {'at least' if kept else 'under'} the bar of {motion_bar:g}"
        )
        if "before" in shares["motion"]:
            told["motion_before"] = (
                f"the unaligned generator has {_share(shares['motion']['before'])} of the motion of true clips"
            )
    if "after" in shares.get("flicker", {}):
        told["flicker"] = f"the light flickers {_share(shares['flicker']['after'])} times as much as that of true clips"
    if "ratio" in report.get("diversity", {}):
        told["diversity"] = f"films of one prompt differ {_share(report['diversity'])} times as much as unaligned ones"
    return told


def _share(ratio: Mapping[str, float]) -> str:
    return f"{ratio['ratio']:.2f} ({ratio['ratio_low']:.2f} to {ratio['ratio_high']:.2f})"


def _pairs(before: Rows, after: Rows, name: str) -> bool:
    return name in after and bool((np.isfinite(before[name]) & np.isfinite(after[name])).any())


def _means(rows: Rows, seed: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, values in rows.items():
        if finite := [value for value in values if np.isfinite(value)]:
            low, high = bootstrap_interval(finite, seed)
            found[name] = {"mean": float(np.mean(finite)), "low": low, "high": high}
    return found
