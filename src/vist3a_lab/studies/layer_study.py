"""Does a good linear fit mean a good stitched network? The layer search and the outputs behind it, on several sets of scenes.

VIST3A (section 4.4) says so of early layers. Here the scenes are those of the procedural world, a set per seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vist3a.metrics.aggregate import rank_correlation
from vist3a.metrics.permutation import chance_of_correlation
from vist3a.records import Clip, LayerScore, StitchPoint
from vist3a.runtime.progress import counting
from vist3a_lab.procedural import WorldConfig, make_world

RENDERED_AT_ONCE = 4
CLEAR, CHANCE = 0.5, 0.05
"""Smallest rank correlation that speaks for a claim, and how often chance may do as well."""
Row = dict[str, Any]


@dataclass(frozen=True)
class StudyClips:
    """Frames (uint8 [views, 3, height, width]) of rendered scenes by name, and the names by split."""

    frames: Mapping[str, Tensor]
    splits: Mapping[str, Sequence[str]]

    def clips(self, split: str, count: int | None = None) -> list[Clip]:
        """The first clips of a split, as they would be read from disk."""
        return [Clip(name, self.frames[name].float() / 255) for name in self.splits[split][:count]]


def render_clips(world: WorldConfig, counts: Mapping[str, int], device: torch.device) -> StudyClips:
    """As many scenes per split as ``counts`` says, numbered through."""
    frames: dict[str, Tensor] = {}
    total = sum(counts.values())
    with counting(f"render scenes of seed {world.seed}", total) as done:
        for start in range(0, total, RENDERED_AT_ONCE):
            numbers = range(start, min(start + RENDERED_AT_ONCE, total))
            rgb = make_world(world, numbers, device=device).rgb.cpu()
            frames |= {f"scene-{n:05d}": (clip * 255).round().byte() for n, clip in zip(numbers, rgb, strict=True)}
            done(len(numbers))
    names, splits, first = list(frames), {}, 0
    for split, count in counts.items():
        splits[split] = names[first : first + count]
        first += count
    return StudyClips(frames, splits)


def check_entry(points: Sequence[StitchPoint], name: str, target: str | None) -> None:
    """ValueError when ``name`` is no complete entry among ``points`` or does not lie before the ``target`` of distillation."""
    names = [point.name for point in points]
    # An entry behind the target has no block in between that could be trained.
    end = names.index(target) if target in names else len(names)
    allowed = [point.name for point in points[:end] if point.complete]
    if name not in allowed:
        raise ValueError(
            f"layer_study.points: {name!r} is no complete entry before the point that distillation matches "
            f"({target}); allowed: {', '.join(allowed)}"
        )


def curve(scores: Mapping[int, Sequence[LayerScore]]) -> dict[str, Any]:
    """Held-out R^2 with its interval, MSE and CKA of every point, by seed."""
    measures = {"r2": "r2_heldout", "low": "r2_low", "high": "r2_high", "mse": "mse_heldout", "cka": "cka"}
    first = next(iter(scores.values()))
    return {
        point.point: {
            "index": index,
            "kind": point.kind,
            "complete": point.complete,
            **{
                name: {str(seed): getattr(found[index], field) for seed, found in scores.items()}
                for name, field in measures.items()
            },
        }
        for index, point in enumerate(first)
    }


def conclusions(rows: Sequence[Row]) -> dict[str, Any]:
    """What rows of (seed, point, index, r2, before, after) say; ``before`` and ``after`` are named distances of the outputs.

    Rank correlations, per seed and error, over the points that were distilled: of the fit's error (1 - R^2) and of the block's
    depth in the network with the outputs' errors. The claim holds for one of them when every correlation is at least 0.5 and, for
    every error, chance alone gives as high a mean over the seeds in fewer than one of twenty such studies (exact permutation
    test, Bonferroni over the errors): a few points fall into order easily. It is contradicted when the same is true of the
    opposite (-0.5), and undecided otherwise.
    """
    seeds = sorted({row["seed"] for row in rows})
    correlations: dict[str, dict[str, dict[str, float]]] = {}
    chance: dict[str, float] = {}
    verdicts: dict[str, str] = {}
    agreement: dict[str, int] = {}
    for stage in ("before", "after"):
        by_cause: dict[str, dict[str, float]] = {"fit_error": {}, "depth_in_network": {}}
        agreement[stage] = 0
        for seed in seeds:
            own = [row for row in rows if row["seed"] == seed]
            for error in own[0][stage]:
                outputs = [row[stage][error] for row in own]
                for cause, found in by_cause.items():
                    found[f"{error}/{seed}"] = rank_correlation([_cause(row, cause) for row in own], outputs)
            best_fit = max(own, key=lambda row: row["r2"])
            # Of the same row: equal numbers of two points are no agreement.
            agreement[stage] += best_fit is min(own, key=lambda row: row[stage]["points"])
        correlations[stage] = by_cause
        for cause, values in by_cause.items():
            name = f"{cause}_{stage}"
            verdicts[name], chance[name] = _verdict(rows, stage, cause, list(values.values()))
    return {
        "points": len({row["point"] for row in rows}),
        "chance": chance,
        "rank_correlation": correlations,
        "best_fit_is_best_points": {**agreement, "of": len(seeds)},
        "verdict": verdicts,
        "statement": _statement(correlations, agreement, len(seeds), verdicts, chance, list(rows[0]["after"])),
    }


def _verdict(rows: Sequence[Row], stage: str, cause: str, correlations: Sequence[float]) -> tuple[str, float]:
    """The verdict, and how often chance does as much: its probability for the least clear error, times the number of errors."""
    errors = list(rows[0][stage])
    worst = {1: 0.0, -1: 0.0}
    for error in errors:
        # A group per seed: points of one seed change places with each other, not with those of another.
        groups = [
            ([_cause(row, cause) for row in own], [row[stage][error] for row in own])
            for own in ([row for row in rows if row["seed"] == seed] for seed in sorted({row["seed"] for row in rows}))
        ]
        # Both ways: the claim, and its opposite.
        for sign, so_far in worst.items():
            signed = [(one, [sign * value for value in other]) for one, other in groups]
            worst[sign] = max(so_far, min(1.0, len(errors) * chance_of_correlation(signed)))
    if min(correlations) >= CLEAR and worst[1] < CHANCE:
        return "holds", worst[1]
    if max(correlations) <= -CLEAR and worst[-1] < CHANCE:
        return "contradicted", worst[-1]
    return "undecided", min(worst.values())


def _cause(row: Row, cause: str) -> float:
    return 1 - row["r2"] if cause == "fit_error" else float(row["index"])


def _statement(
    correlations: Mapping[str, Mapping[str, Mapping[str, float]]],
    agreement: Mapping[str, int],
    seeds: int,
    verdicts: Mapping[str, str],
    chance: Mapping[str, float],
    errors: Sequence[str],
) -> list[str]:
    parts = []
    for stage, words in (("before", "Before distillation"), ("after", "After distillation")):
        said = []
        for cause, name in (("fit_error", "a low fit error"), ("depth_in_network", "an early block")):
            values = list(correlations[stage][cause].values())
            said.append(
                f'"{name} gives good outputs" {_word(verdicts[f"{cause}_{stage}"])} (rank correlation '
                f"{min(values):.2f} to {max(values):.2f} over {seeds} seeds and {len(errors)} errors; chance does as well in "
                f"{chance[f'{cause}_{stage}']:.2g} of such studies)"
            )
        parts.append(
            f"{words}, {' and '.join(said)}; the point with the highest held-out R² has the smallest error of points in "
            f"{agreement[stage]} of {seeds} seeds."
        )
    return parts


def _word(verdict: str) -> str:
    return {"holds": "holds", "contradicted": "is contradicted", "undecided": "is not decided"}[verdict]
