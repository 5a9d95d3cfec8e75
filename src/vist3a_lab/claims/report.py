"""The report: every table with its intervals, and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vist3a_lab.claims.pooled import Pooled
from vist3a_lab.claims.verdicts import ORDER, linear_fit, measured_claims, not_testable

Table = dict[str, dict[str, dict[str, float]]]
COMPARED = {
    "geometry": (("stitched_distilled", "original"), ("stitched", "original"), ("stitched_distilled", "stitched"),
                 ("sequential", "original"), ("stitched_distilled", "sequential")),
    "noise": (("stitched_distilled", "sequential"),),
    "generated": (("stitched", "sequential"), ("stitched_aligned", "stitched"), ("stitched_aligned", "sequential")),
    "orders": (("original_shuffled", "original_true"), ("stitched_shuffled", "stitched_true"),
               ("stitched_ordered", "stitched_shuffled"), ("stitched_ordered", "stitched_true"),
               ("stitched_true_backwards", "stitched_true")),
}  # fmt: skip
"""Paired differences by part: the first minus the second."""


def report_of(figures: Mapping[str, Any], layer_study: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Tables and verdicts from the figures of all seeds, ``{part: {seed: {variant: {figure: values}}}}`` (noise: by level, too).

    ``layer_study`` is the report of that study; ``seed`` draws the bootstrap.
    """
    geometry, generated, orders = (Pooled(figures[part], seed) for part in ("geometry", "generated", "orders"))
    levels = next(iter(figures["noise"].values()))
    # Levels are keys, and so texts, which would not sort as numbers do.
    noise = {
        level: Pooled({key: found[level] for key, found in figures["noise"].items()}, seed)
        for level in sorted(levels, key=float)
    }
    ordered = ("stitched_ordered", "stitched_shuffled", "stitched_true")
    shares = {figure: orders.recovered(*ordered, [figure]) for figure in ORDER} | {
        "mean": orders.recovered(*ordered, ORDER)
    }
    return {
        "geometry": _means(geometry),
        "geometry_difference": _differences(geometry, "geometry"),
        "noise": {level: _means(pooled) for level, pooled in noise.items()},
        "noise_difference": {level: _differences(pooled, "noise") for level, pooled in noise.items()},
        "generated": _means(generated),
        "generated_difference": _differences(generated, "generated"),
        "orders": _means(orders),
        "orders_difference": _differences(orders, "orders"),
        "recovery": {name: share for name, share in shares.items() if share is not None},
        "claims": [*measured_claims(geometry, noise, generated, orders), linear_fit(layer_study), *not_testable()],
    }


def _means(pooled: Pooled) -> Table:
    return {
        variant: {figure: pooled.mean(variant, figure) for figure in pooled.figures[variant]}
        for variant in pooled.variants
    }


def _differences(pooled: Pooled, part: str) -> Table:
    return {
        f"{one} - {other}": {figure: pooled.difference(one, other, figure) for figure in pooled.figures[one]}
        for one, other in COMPARED[part]
    }
