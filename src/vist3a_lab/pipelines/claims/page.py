"""The claims as a page of Markdown, from their report alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vist3a_lab.claims.verdicts import MARGIN, ORDER, RECOVERED
from vist3a_lab.pipelines.estimate_tables import by_figure, cell, named, table
from vist3a_lab.pipelines.made_on import weight_of
from vist3a_lab.procedural.shifted import SHIFTS, Shift

PAGE = """# The claims of the paper, measured

Written by `kedro run --pipelines=claims` on the embedded networks and {device}: {count} seeds ({seeds}). A seed changes the clips
that distillation draws ({tokens} steps on tokens, {outputs} on outputs), the prompts, noise and initial weights of alignment
({alignment_steps} steps), and the held-out scenes ({scenes} each) and prompts ({prompts} each). {weight}

Everywhere: mean
(95 % bootstrap interval over seeds and over the scenes of a seed; what the seeds add is widened for how few they are, by
Student's t). Differences are paired by scene; **bold** ones have
their whole interval on one side of no difference. (+): more is better, (-): less is better.

## Verdicts

A claim that something is better holds when all its figures are better with their whole interval, does not hold when
one is worse with its whole interval, and is not decided otherwise. A claim that something is kept holds when the whole
interval of every figure loses less than {margin:.0%} of the reference's, does not hold when the whole interval of one loses more,
and is not decided otherwise. All intervals of a claim hold together with 95 % (Bonferroni), so they are
wider than those of the tables. Differences are given so that a positive one speaks for the claim; figures in which no
scene differs are left out.

{claims}

## 1. Stitched against the original network

True frames of scenes with exact cameras and depth. Depth after one scale per scene; surfaces of every {pixel_step}th
pixel after Umeyama and ICP, lengths in units of the mean distance of the points; RRA and RTA at 5°, AUC at 30°. Novel
views: of every three views the middle one is a target (8 source and 4 target views of 12, in video order), rendered
at the true cameras with the unit of the median depth ratio, where the paper predicts the target cameras in a second
pass.

{geometry}

Differences:

{geometry_difference}

Errors of stitching and distilling over those of decoding first, ratios of the means:

{clean_ratio}

## 2. Noise on the latents

z + share rms(z) eps, with the root mean square over the whole latent of a clip. The paper states the noise by
alpha, which counts in norms of the latent and so depends on its size: share = alpha times the root of the number of
latents, here {latent_numbers}, so that its alpha = 0.001 is a share of {thousandth:.1%}. Stitched and distilled, against
decoding to frames and then the original network; both see the frames decoded from the noisy latents. {noise_scenes} scenes
per seed.

![noise](claims_noise.png)

{noise}

## 3. Worlds that the original network was not trained on

{shifted_scenes} scenes per seed of each world, with exact cameras and depth; everything else is as it was for the plain
world: {worlds}. The networks are given the pictures as recorded; novel views are held against the steady pictures without
noise. `stitched_distilled` was distilled on clips of the plain world.{there} The original network is used as it is: nothing
here has seen the truth of these worlds. Verdicts are of one interval each.

{shifted_rows}

{shifted}

## 4. Generated scenes

Held-out prompts, the same noise for all; `sequential` (decoding first) and `stitched_distilled` are of the unaligned
generator, `aligned` is the same decoder after alignment. Accuracy: share of prompts that an independent judge finds
right, on decoded frames and on renderings; consistency: renderings against decoded frames, reprojection between views in
pixels and in relative depth.

{generated}

Differences:

{generated_difference}

## 5. Unordered views

The same views in true order, in random order, in the order found from their pictures alone, and in true order
backwards. Errors are of the views as they came, after undoing the permutation, and do not depend on the world frame.
What another first view does by itself shows in the original network, which knows no order but that.

{orders}

Share of what shuffling loses that ordering recovers (wanted: {recovered:.0%}; the last line is the mean of the others):

{recovery}
"""
GEOMETRY = ("nvs_psnr", "nvs_ssim", "depth_absrel", "depth_delta_125", "accuracy", "completeness", "normals", "f_score",
            "rotation_deg", "translation_deg", "rra_5", "rta_5", "auc_30", "ate", "rpe_translation", "rpe_rotation")  # fmt: skip
NOISE = ("accuracy", "completeness", "normals", "depth_absrel", "points", "rotation_deg")
SHIFTED = ("nvs_psnr", "nvs_ssim", "depth_absrel", "points", "rotation_deg", "auc_30")
THERE = (
    " `stitched_distilled_there` was distilled on clips of these worlds in equal parts, without labels, with the same settings: "
    "that is the paper's setting, in which a user distils on the clips that there are."
)
GENERATED = ("accuracy/decoded", "accuracy/rendered", "judge/text_decoded", "judge/text_rendered", "consistency_psnr",
             "reprojection/pixels", "reprojection/depth")  # fmt: skip


ABOUT = (
    "device",
    "scenes",
    "noise_scenes",
    "shifted_scenes",
    "prompts",
    "pixel_step",
    "alignment_steps",
    "latent_numbers",
)
EFFECTS = {
    "lens": "{:g} times the angle of view", "path": "{:g} times the camera's path",
    "exposure": "brightness from frame to frame by up to {:.0%}, colors by half of that",
    "pixel_noise": "noise of {:g} on pixels in 0..1",
}  # fmt: skip


def claims_page(report: Mapping[str, Any]) -> str:
    """Markdown with all tables; a table has a row per figure and a column per variant."""
    about, recovery = report["about"], report["recovery"]
    noise = []
    for share in sorted(report["noise"], key=float):
        means, change = report["noise"][share], report["noise_difference"][share]["stitched_distilled - sequential"]
        for figure in NOISE:
            cells = [cell(means[variant][figure]) for variant in ("sequential", "stitched_distilled")]
            noise.append([f"{float(share):.0%}", named(figure), *cells, cell(change[figure], signed=True)])
    return PAGE.format(
        **{key: about[key] for key in ABOUT},
        **about["distillation_steps"],
        weight=weight_of(about["device"], "claims"),
        clean_ratio=table(
            ["figure", "ratio"], [[named(figure), cell(one)] for figure, one in sorted(report["clean_ratio"].items())]
        ),
        worlds="; ".join(_described(name, shift) for name, shift in SHIFTS.items()),
        there=THERE if about["distilled_there"] else "",
        shifted_rows=table(
            ["world", "decoder", "figure", "ahead of the original", "difference"],
            [[one["world"], one["variant"], one["claim"], f"**{one['verdict']}**", one["figure"]]
             for one in report["shifted_rows"]],
        ),
        shifted=_shifted(report["shifted"]),
        count=len(about["seeds"]),
        seeds=", ".join(str(seed) for seed in about["seeds"]),
        claims=table(
            ["claim", "where", "verdict", "reason"],
            [[one["claim"], one["source"], f"**{one['verdict']}**", one["reason"]] for one in report["claims"]],
        ),
        geometry=by_figure(report["geometry"], ("original", "sequential", "stitched", "stitched_distilled"), GEOMETRY),
        geometry_difference=by_figure(report["geometry_difference"], None, GEOMETRY, signed=True),
        thousandth=1e-3 * about["latent_numbers"] ** 0.5,
        noise=table(["noise", "figure", "sequential", "stitched and distilled", "difference"], noise),
        generated=by_figure(report["generated"], ("sequential", "stitched_distilled", "aligned"), GENERATED),
        generated_difference=by_figure(report["generated_difference"], None, GENERATED, signed=True),
        orders=by_figure(
            report["orders"],
            ("original_true", "original_shuffled", "stitched_true", "stitched_true_backwards", "stitched_shuffled",
             "stitched_ordered"),
            ORDER,
        ),
        recovered=RECOVERED,
        margin=MARGIN,
        recovery=table(
            ["figure", "recovered"],
            [[name, _share(recovery[name])] for name in (*ORDER, "mean") if name in recovery],
        ),
    )  # fmt: skip


def _shifted(worlds: Mapping[str, Any]) -> str:
    rows = [
        [world, named(figure), *(cell(means[variant][figure]) for variant in means)]
        # A report that was read has its keys sorted.
        for world, means in sorted(worlds.items(), key=lambda item: [*SHIFTS].index(item[0]))
        for figure in SHIFTED
    ]
    return table(["world", "figure", *next(iter(worlds.values()))], rows)


def _described(name: str, shift: Shift) -> str:
    """A world in words: what differs from the plain one."""
    plain = Shift()
    changed = {key: value for key, value in vars(shift).items() if value != getattr(plain, key)}
    return f"`{name}` ({', '.join(f'{EFFECTS[key].format(value)}' for key, value in changed.items())})"


def _share(one: Mapping[str, float]) -> str:
    return f"{one['value']:.1%} ({one['low']:.1%} to {one['high']:.1%})"
