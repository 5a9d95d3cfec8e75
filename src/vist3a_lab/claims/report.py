"""The report: every table with its intervals, and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vist3a_lab.claims.bars import FIRST, OURS, TIMES, clean_claims, noise_claims, shifted_claims, shifted_rows
from vist3a_lab.claims.pooled import Pooled
from vist3a_lab.claims.verdicts import ORDER, linear_fit, measured_claims, not_testable

Table = dict[str, dict[str, dict[str, float]]]
COMPARED = {
    "geometry": (("stitched_distilled", "original"), ("stitched", "original"), ("stitched_distilled", "stitched"),
                 ("sequential", "original"), ("stitched_distilled", "sequential")),
    "noise": (("stitched_distilled", "sequential"),),
    "shifted": (("stitched_distilled", "original"), ("stitched_distilled_there", "original"),
                ("stitched_distilled", "sequential")),
    "generated": (("stitched_distilled", "sequential"), ("aligned", "stitched_distilled"), ("aligned", "sequential")),
    "orders": (("original_shuffled", "original_true"), ("stitched_shuffled", "stitched_true"),
               ("stitched_ordered", "stitched_shuffled"), ("stitched_ordered", "stitched_true"),
               ("stitched_true_backwards", "stitched_true")),
}  # fmt: skip
"""Paired differences by part: the first minus the second."""


def report_of(figures: Mapping[str, Any], layer_study: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Tables and verdicts from the figures of all seeds, ``{part: {seed: {variant: {figure: values}}}}``.

    Those of noise are by its share, too, before the variant; those of shifted worlds by world.

    ``layer_study`` is the report of that study; ``seed`` draws the bootstrap.
    """
    geometry, generated, orders = (Pooled(figures[part], seed) for part in ("geometry", "generated", "orders"))
    noise, shifted = (_by_key(figures[part], seed) for part in ("noise", "shifted"))
    # Shares are keys, and so texts, which would not sort as numbers do.
    noise = {share: noise[share] for share in sorted(noise, key=float)}
    ordered = ("stitched_ordered", "stitched_shuffled", "stitched_true")
    shares = {figure: orders.recovered(*ordered, [figure]) for figure in ORDER} | {
        "mean": orders.recovered(*ordered, ORDER)
    }
    return {
        "geometry": _means(geometry),
        "geometry_difference": _differences(geometry, "geometry"),
        "clean_ratio": {figure: geometry.ratio(OURS, FIRST, figure) for figure in TIMES},
        "noise": {share: _means(pooled) for share, pooled in noise.items()},
        "noise_difference": {share: _differences(pooled, "noise") for share, pooled in noise.items()},
        "shifted": {world: _means(pooled) for world, pooled in shifted.items()},
        "shifted_difference": {world: _differences(pooled, "shifted") for world, pooled in shifted.items()},
        "shifted_rows": shifted_rows(shifted),
        "generated": _means(generated),
        "generated_difference": _differences(generated, "generated"),
        "orders": _means(orders),
        "orders_difference": _differences(orders, "orders"),
        "recovery": {name: share for name, share in shares.items() if share is not None},
        "claims": [
            *measured_claims(geometry, noise, generated, orders),
            *(one.judged() for one in (*shifted_claims(shifted), *clean_claims(geometry), *noise_claims(noise))),
            linear_fit(layer_study),
            *not_testable(),
        ],
    }


def _by_key(by_seed: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, Pooled]:
    """``{seed: {key: figures}}`` pooled by key."""
    keys = next(iter(by_seed.values()))
    return {key: Pooled({number: found[key] for number, found in by_seed.items()}, seed) for key in keys}


def _means(pooled: Pooled) -> Table:
    return {
        variant: {figure: pooled.mean(variant, figure) for figure in pooled.figures[variant]}
        for variant in pooled.variants
    }


def _differences(pooled: Pooled, part: str) -> Table:
    return {
        f"{one} - {other}": {figure: pooled.difference(one, other, figure) for figure in pooled.figures[one]}
        for one, other in COMPARED[part]
        if one in pooled.variants
    }
