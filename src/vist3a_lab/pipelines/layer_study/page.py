"""The layer study as a page of Markdown, from its report alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vist3a_lab.pipelines.made_on import weight_of
from vist3a_lab.studies.latent_study import LATENTS, READ_ON
from vist3a_lab.studies.noise_study import FIRST

PAGE = """# Does a good linear fit mean a good stitched network?

Written by `kedro run --pipelines=layer_study` on the embedded networks and {device}: {sets} sets of procedural scenes (seeds
{seeds}), each with {fit} scenes to fit, {selection} to choose the ridge and {heldout} to judge. {weight}

{statement}

A claim "holds" when every rank correlation (seeds x errors of the outputs) is at least 0.5 and chance alone would give as high
ones in fewer than one of twenty such studies (exact permutation test over the {points} points of every seed, Bonferroni over the
errors), is "contradicted" when the same is true of the opposite, and is "not decided" otherwise.

![layer study](layer_study.png)

## Distilled points

Distance of the outputs to the original network's on {measured_clips} held-out clips: before -> after distillation, mean over the
seeds. {distillation}

{distilled}

## Held-out R² of all points

{curve}

## Noise on the latents

z + share rms(z) eps, as a generator's latents are never exactly on the encoder's manifold. Means over the seeds; every level of
noise has layers of its own, fitted for it, ridge included.

{noise_statement}

Held-out R² of layers fitted for the noise (in brackets: of those fitted on clean latents, which read the same noisy latents):

{noise_r2}

Errors of the outputs against the original network's on the true frames, before distillation, of layers fitted for the noise:

{noise_outputs}

## Which latents to fit on

At `{point}`. Every fit is read on modes and on samples. "Ahead" is the R² minus that of the first row on the same scenes, with
its 95 % interval, seed by seed; the outputs' errors are before distillation, mean over the seeds.

{latents_statement}

{latents}
"""


def study_page(report: Mapping[str, Any]) -> str:
    """Markdown with the statement and three tables."""
    seeds = [str(seed) for seed in report["seeds"]]
    return PAGE.format(
        sets=len(seeds),
        points=report["points"],
        seeds=", ".join(seeds),
        statement="\n".join(f"* **{sentence}**" for sentence in report["statement"]),
        point=report["distilled"][0]["point"],
        distilled=_distilled(report["distilled"]),
        curve=_curve(report["curve"], seeds),
        latents=_latents(report["latents"], seeds),
        latents_statement="\n".join(f"* {sentence}" for sentence in report["latents_statement"]),
        distillation=_distillation(report["distillation"]),
        device=report["device"],
        weight=weight_of(report["device"], "layer_study"),
        noise_statement="\n".join(f"* {sentence}" for sentence in report["noise_statement"]),
        noise_r2=_noise_r2(report["noise"], report["curve"]),
        noise_outputs=_noise_outputs(report["noise"], [row["point"] for row in report["distilled"]]),
        measured_clips=report["distillation"]["measured_clips"],
        **report["scenes"],
    )


def _distilled(rows: Sequence[Mapping[str, Any]]) -> str:
    errors = list(rows[0]["before"])
    lines = []
    for point in dict.fromkeys(row["point"] for row in rows):
        own = [row for row in rows if row["point"] == point]
        cells = [f"{_mean(r['before'][e] for r in own):.3g} -> {_mean(r['after'][e] for r in own):.3g}" for e in errors]
        lines.append([point, f"{_mean(row['r2'] for row in own):.3f}", *cells])
    return _table(["point", "R²", *errors], lines)


def _curve(curve: Mapping[str, Any], seeds: Sequence[str]) -> str:
    lines = []
    for name in sorted(curve, key=lambda name: curve[name]["index"]):
        point = curve[name]
        cells = [f"{point['r2'][s]:.3f} ({point['low'][s]:.3f} to {point['high'][s]:.3f})" for s in seeds]
        lines.append([name if point["complete"] else f"{name} (not an entry)", *cells])
    return _table(["point", *(f"seed {seed}" for seed in seeds)], lines)


def _noise_r2(noise: Mapping[str, Any], curve: Mapping[str, Any]) -> str:
    shares = sorted(next(iter(noise.values())), key=float)
    lines = []
    for name in sorted(curve, key=lambda name: curve[name]["index"]):
        cells = []
        for share in shares:
            fitted, clean = (
                _mean(own[share][kind][name] for own in noise.values()) for kind in ("fitted", "clean_fit")
            )
            cells.append(f"{fitted:.3f} ({clean:.3f})")
        lines.append([name if curve[name]["complete"] else f"{name} (not an entry)", *cells])
    return _table(["point", *(f"{float(share):.0%}" for share in shares)], lines)


def _noise_outputs(noise: Mapping[str, Any], points: Sequence[str]) -> str:
    first = next(iter(noise.values()))
    shares = sorted(first, key=float)
    errors = list(first[shares[0]]["outputs"][FIRST])
    lines = [
        [
            f"{float(share):.0%}",
            name,
            *(f"{_mean(own[share]['outputs'][name][e] for own in noise.values()):.3g}" for e in errors),
        ]
        for share in shares
        for name in (FIRST, *dict.fromkeys(points))
    ]
    return _table(["noise", "point", *errors], lines)


def _latents(latents: Mapping[str, Any], seeds: Sequence[str]) -> str:
    first, *_ = LATENTS
    errors = list(latents[first][seeds[0]]["outputs"])
    lines = []
    for name in LATENTS:  # a report that was read has its keys sorted
        by_seed, cells = latents[name], []
        for read in READ_ON:
            own = [by_seed[seed][f"read_on_{read}"] for seed in seeds]
            ahead = [] if name == first else [one["ahead_of_first"] for one in own]
            cells.append(f"{_mean(one['r2'] for one in own):.4f}")
            cells.append("; ".join(f"{a['r2']:+.4f} ({a['low']:+.4f} to {a['high']:+.4f})" for a in ahead))
        outputs = [f"{_mean(by_seed[seed]['outputs'][error] for seed in seeds):.3g}" for error in errors]
        lines.append([name, *cells, *outputs])
    reads = [title for read in READ_ON for title in (f"R² on the {read}", "ahead")]
    return _table(["fitted on", *reads, *errors], lines)


def _distillation(how: Mapping[str, Any]) -> str:
    """What was trained, and what that means for late entries."""
    rounds, warning = [], ""
    if how["match"] is not None:
        steps, point = how["match"]["loop"]["steps"], how["match"]["point"]
        rounds.append(f"{steps} steps on the tokens at `{point}`, which train the blocks from the entry to there")
    if how["loop"] is not None:
        rounds.append(
            f"{how['loop']['steps']} steps on inner states and outputs, which train everything behind the entry"
        )
    else:
        warning = (
            " A late entry leaves few blocks to train in that, the last one hardly any, so this is no judgement on what longer "
            "distillation of the whole rest could make of it."
        )
    return f"Distillation: {', then '.join(rounds) or 'none'}.{warning}"


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
