"""The alignment study as a page of Markdown, from its report alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vist3a.metrics.by_kind import worst_lines
from vist3a_lab.pipelines.estimate_tables import by_figure, table
from vist3a_lab.studies.alignment_study import OPTIMISED, UNTRAINED, VARIANTS

PAGE = """# What the parts of alignment do

Written by `kedro run --pipelines=alignment_study` on the embedded networks: the ablation of the paper's table 6. Each of {count}
seeds ({seeds}) trains four adapters for {steps} steps of {prompts_per_step} prompts and {clips_per_step} clips, with the
generative loss (weight {generative_weight:g}) and the weights below, K = {gradient_steps}, {denoising_steps} denoising steps,
guidance {guidance:g}. They differ in nothing else: prompts, noise, clips and initial weights of a seed are the same.
`{untrained}` is before, every other variant after alignment, on the same {prompts} held-out prompts per seed with the same
noise.

{weights}

## What holds

Of two variants an ordering holds when the 95 % interval of their difference lies wholly on the paper's side of no
difference, and is reversed when it lies wholly on the other. Of so many, some are decided by chance. The sentences have
intervals that hold together for all their figures (Bonferroni): they hold when every one lies wholly on the paper's side, and
do not hold when one lies wholly on the other.

{statement}

## Figures

Mean (95 % bootstrap interval over seeds and over the prompts of a seed). (+): more is better, (-): less is better. `reward/total`
has the weights of `full` for all variants. `judge/...`: text scores of a judge that nothing is optimised against, and
`accuracy/...`, the share of prompts that its attributes find right. `sharpness/...`: root mean square of the Laplacian,
which noise raises too. `consistency_psnr`: renderings against decoded frames in dB. `reprojection/...`: errors of going to
another view by depth and cameras and back, in pixels, relative depth and colour; not the differentiable term of the same
name.

{means}

## Against no finetuning

Differences paired by prompt; **bold** ones have their whole interval on one side of no difference.

{before}

## Against the generative loss alone

{generative}

## By kind of prompt

Share of the prompts of all seeds that the judge finds right, before and after the full alignment (Wilson's 95 % interval over
prompts, as if all seeds were one). Below the mean of all prompts, and of these with the intervals that end lowest:

{worst}

{kinds}

## Every ordering

A positive difference speaks for the paper.

{orderings}
"""


def alignment_page(report: Mapping[str, Any]) -> str:
    """Markdown with the statement and all tables."""
    about, means, differences = report["about"], report["means"], report["differences"]
    figures = sorted(means[UNTRAINED])
    against = {
        base: {name: found for name, found in differences.items() if name.endswith(f" - {base}")}
        for base in (UNTRAINED, "generative")
    }
    terms = sorted(about["weights"]["full"])
    kinds = report["kinds"]
    return PAGE.format(
        **{key: value for key, value in about.items() if key not in ("seeds", "weights", "heldout_seed")},
        count=len(about["seeds"]),
        seeds=", ".join(str(seed) for seed in about["seeds"]),
        untrained=UNTRAINED,
        weights=table(
            ["weight", *OPTIMISED],
            [[term, *(f"{about['weights'][variant][term]:g}" for variant in OPTIMISED)] for term in terms],
        ),
        statement="\n".join(f"* {sentence}" for sentence in report["statement"]),
        means=by_figure(means, VARIANTS, figures),
        before=by_figure(against[UNTRAINED], [f"{name} - {UNTRAINED}" for name in OPTIMISED], figures, signed=True),
        generative=by_figure(against["generative"], None, figures, signed=True),
        worst="\n".join(worst_lines(kinds)),
        kinds=table(
            ["figure", "kind", "prompts", "before", "after"],
            [
                [row["figure"], row["kind"], str(row["prompts"]), *(share(row, state) for state in ("before", "after"))]
                for row in kinds["rows"]
            ],
        ),
        orderings=table(
            ["paper's column", "here", "better in the paper", "worse", "difference", "verdict"],
            [
                [one["column"], one["figure"], one["better"], one["worse"],
                 f"{one['difference']:+.3g} ({one['low']:+.3g} to {one['high']:+.3g})", f"**{one['verdict']}**"]
                for one in report["orderings"]
            ],
        ),
    )  # fmt: skip


def share(row: Mapping[str, Any], state: str) -> str:
    """A share in percent, with its interval."""
    return f"{row[state]:.0%} ({row[f'{state}_low']:.0%} to {row[f'{state}_high']:.0%})"
