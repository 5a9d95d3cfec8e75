"""Bars on figures whose answer is known: each holds, fails, or is not decided."""

from __future__ import annotations

import numpy as np
import pytest

from vist3a_lab.claims.bars import (
    above,
    below,
    clean_claims,
    noise_claims,
    shifted_claims,
    shifted_rows,
)
from vist3a_lab.claims.pooled import Pooled

FIGURES = ("nvs_psnr", "depth_absrel", "points", "rotation_deg")


def pooled(factor: float, decibels: float = 0.0, spread: float = 0.001) -> Pooled:
    """Three seeds of 16 scenes: ``ours`` has ``factor`` times the others' errors and so many dB more, with some spread."""
    random = np.random.default_rng(0)
    found = {}
    for seed in ("1", "2", "3"):
        base = {figure: 10 + random.normal(size=16) for figure in FIGURES}
        ours = {
            figure: values + decibels + 10 * spread * random.normal(size=16)
            if figure == "nvs_psnr"
            else values * (factor + spread * random.normal(size=16))
            for figure, values in base.items()
        }
        rows = {figure: list(values) for figure, values in base.items()}
        better = {figure: list(values) for figure, values in ours.items()}
        found[seed] = {"sequential": rows, "original": rows, "stitched_distilled": better,
                       "stitched_distilled_there": better}  # fmt: skip
    return Pooled(found, seed=0)


def said(claims: list) -> list[str]:
    return [claim.judged()["verdict"] for claim in claims]


def test_a_ratio_of_means_in_closed_form() -> None:
    one, other = [1.0, 2.0, 6.0, None], [2.0, 4.0, 12.0, 100.0]
    rows = {"a": {"x": one}, "b": {"x": other}, "c": {"x": [-1.0] * 4}}
    found = Pooled({"1": rows, "2": rows}, seed=0)
    # Proportional items: every resample has the same ratio; an item that only one has counts in neither mean.
    assert found.ratio("a", "b", "x") == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert found.ratio("b", "a", "x")["value"] == pytest.approx(2.0)
    with pytest.raises(ValueError, match="x of c has no mean above 0"):
        found.ratio("a", "c", "x")


def test_the_interval_of_a_ratio_is_that_of_the_delta_method() -> None:
    """One seed of 400 independent pairs: mean ratio +- 1.96 standard errors of (a - r b) / mean(b)."""
    random = np.random.default_rng(4)
    a, b = 3 + random.normal(size=400), 2 + 0.5 * random.normal(size=400)
    found = Pooled({"1": {"a": {"x": list(a)}, "b": {"x": list(b)}}}, seed=0).ratio("a", "b", "x")
    ratio = a.mean() / b.mean()
    half = 1.96 * np.std(a - ratio * b) / 20 / b.mean()
    assert found["value"] == pytest.approx(ratio)
    assert found["high"] - ratio == pytest.approx(half, rel=0.1) and ratio - found["low"] == pytest.approx(
        half, rel=0.1
    )
    wider = Pooled({"1": {"a": {"x": list(a)}, "b": {"x": list(b)}}}, seed=0).ratio("a", "b", "x", together=10)
    assert wider["high"] - wider["low"] > 1.2 * (found["high"] - found["low"])


def test_room_to_a_bar_has_the_ends_of_the_estimate() -> None:
    estimate = {"value": 1.0, "low": 0.5, "high": 2.0}
    assert above(estimate, 0.75) == {"value": 0.25, "low": -0.25, "high": 1.25}
    assert below(estimate, 0.75) == {"value": -0.25, "low": -1.25, "high": 0.25}


@pytest.mark.parametrize(
    ("factor", "decibels", "spread", "verdicts"),
    [
        (1.04, -0.05, 0.001, ["holds", "holds", "holds"]),
        (1.08, -0.2, 0.001, ["does not hold", "holds", "does not hold"]),
        (1.2, -0.2, 0.001, ["does not hold", "does not hold", "does not hold"]),
        (1.06, -0.1, 0.2, ["not decided", "not decided", "not decided"]),
    ],
)
def test_what_stitching_costs_on_clean_latents(
    factor: float, decibels: float, spread: float, verdicts: list[str]
) -> None:
    assert said(clean_claims(pooled(factor, decibels, spread))) == verdicts


def test_noise_counts_from_its_bar_on() -> None:
    """Behind where noise is small, which the bars leave alone; ahead in rotation from 13 % and in depth from 26 %."""
    behind, ahead = pooled(1.2), pooled(0.8)
    assert said(noise_claims({"0": behind, "0.13": ahead, "0.26": ahead, "1": ahead})) == ["holds", "holds"]
    assert said(noise_claims({"0": behind, "0.13": behind, "0.26": ahead, "1": ahead})) == ["does not hold", "holds"]
    assert said(noise_claims({"0": ahead, "0.13": ahead, "0.26": ahead, "1": behind})) == ["does not hold"] * 2
    assert said(noise_claims({"0.13": pooled(1.0, spread=0.2), "0.26": ahead})) == ["not decided", "holds"]
    assert said(noise_claims({"0": ahead, "0.05": ahead})) == ["not decided"] * 2, "nothing was measured above the bars"


def test_every_shifted_world_counts() -> None:
    ahead, behind = pooled(0.9, 0.4), pooled(1.2, -0.4)
    assert said(shifted_claims({"one": ahead, "two": ahead})) == ["holds", "holds"]
    assert said(shifted_claims({"one": ahead, "two": behind})) == ["does not hold", "does not hold"]
    assert said(shifted_claims({"one": ahead, "two": pooled(1.0, 0.0, 0.2)})) == ["not decided", "not decided"]
    rows = {
        (row["world"], row["variant"], row["claim"]): row["verdict"]
        for row in shifted_rows({"one": ahead, "two": behind})
    }
    assert len(rows) == 8
    for (world, _, _), verdict in rows.items():
        assert verdict == ("holds" if world == "one" else "does not hold")
