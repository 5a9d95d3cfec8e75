"""The alignment study as a page of Markdown, from its report alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vist3a.metrics.by_kind import worst_lines
from vist3a_lab.pipelines.estimate_tables import by_figure, cell, table
from vist3a_lab.pipelines.made_on import weight_of
from vist3a_lab.studies.alignment_bars import TRUE_CLIPS
from vist3a_lab.studies.alignment_study import BESIDE, OPTIMISED, UNTRAINED, VARIANTS
from vist3a_lab.studies.film_scores import FILM

PAGE = """# What the parts of alignment do

Written by `kedro run --pipelines=alignment_study` on the embedded networks and {device}: the ablation of the paper's table 6,
and `full_motion`, in which the reward also holds the camera's motion at {motion:g} median depths{apart}. {weight}

Each of {count} seeds ({seeds}) trains five adapters for {steps} steps of {prompts_per_step} prompts and {clips_per_step}
clips, with the generative loss (weight {generative_weight:g}) and the weights below, K = {gradient_steps}, {denoising_steps}
denoising steps, guidance {guidance:g}. They differ in nothing else: prompts, noise, clips and initial weights of a seed are
the same. `{untrained}` is before, every other variant after alignment, on the same {prompts} held-out prompts per seed with
the same noise.

{weights}

## Repair, without standing still

What a video is worth as a film of one place is read from decoded frames by the *original* 3D network, through which nothing was
aligned. `film/rerender`: renderings of its own reconstruction against the frames, in dB. `film/motion`: length of the camera's
path over the median depth. `film/flicker`: second difference of the frames' mean color. `true_clips` are exact clips of the
procedural world, as many as there are prompts, `{untrained}` is the unaligned generator{beside}.
A camera that stands still re-renders well by itself: a gain counts only where the motion holds.

![motion against re-rendering](alignment_study_frontier.png)

{films}

Diversity: mean distance (that of LPIPS, in the judge's features, frame by frame) between {diversity_noises} videos of one prompt,
of {diversity_prompts} prompts per seed.

{bars}

## What holds

Of two variants an ordering holds when the 95 % interval of their difference lies wholly on the paper's side of no
difference, and is reversed when it lies wholly on the other. Of so many, some are decided by chance. The sentences have
intervals that hold together for all their figures (Bonferroni): they hold when every one lies wholly on the paper's side, and
do not hold when one lies wholly on the other.

{statement}

Coher is read by the original network from decoded frames (`film/rerender`): renderings of the stitched decoder against frames
(`consistency_psnr`) are what the reward of consistency optimises, and would speak about themselves. The paper's judge of
coherence looks at renderings and was optimised by nothing.

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


ABOUT = ("device", "motion", "steps", "prompts", "prompts_per_step", "clips_per_step", "generative_weight", "gradient_steps",
         "denoising_steps", "guidance", "diversity_noises", "diversity_prompts")  # fmt: skip


def _films(report: Mapping[str, Any]) -> str:
    """A row per variant and per what stands beside them."""
    named = [name for name in (TRUE_CLIPS, *VARIANTS, BESIDE) if name in report["films"]]
    rows = [
        [
            name, *(cell(report["films"][name][figure]) for figure in FILM), cell(report["motion_ratio"][name]),
            cell(report["diversity_ratio"][name]) if name in report["diversity_ratio"] else "",
        ]
        for name in named
    ]  # fmt: skip
    return table(["", *FILM, "motion over true clips'", f"diversity over {UNTRAINED}'s"], rows)


def alignment_page(report: Mapping[str, Any]) -> str:
    """Markdown with the statement and all tables."""
    about, means, differences = report["about"], report["means"], report["differences"]
    figures = sorted(means[UNTRAINED])
    against = {
        base: {name: found for name, found in differences.items() if name.endswith(f" - {base}")}
        for base in (UNTRAINED, "generative")
    }
    terms = sorted(set().union(*about["weights"].values()))
    kinds = report["kinds"]
    return PAGE.format(
        **{key: about[key] for key in ABOUT},
        apart=(
            "" if about["diversity_held"] is None
            else f" and the perceptual\ndistance of rollouts of one prompt at {about['diversity_held']:g}"
        ),
        weight=weight_of(about["device"], "alignment_study"),
        beside=f", `{BESIDE}` another one, unaligned too" if BESIDE in report["films"] else "",
        films=_films(report),
        bars=table(
            ["variant", "asked for", "verdict", "figure"],
            [[one["variant"], one["claim"], f"**{one['verdict']}**", one["figure"]] for one in report["bars"]],
        ),
        count=len(about["seeds"]),
        seeds=", ".join(str(seed) for seed in about["seeds"]),
        untrained=UNTRAINED,
        weights=table(
            ["weight", *OPTIMISED],
            [[term, *(f"{about['weights'][variant].get(term, 0):g}" for variant in OPTIMISED)] for term in terms],
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
