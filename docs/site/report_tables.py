"""Tables and pages made from the files in ``reports/``, so that no number of the documentation is typed by hand.

Every function takes the folder of reports and returns Markdown. A figure that a report lacks is a ``KeyError``: the page is not
built with a hole in it.

Example:
    >>> print(summary(Path("reports")))
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Report = Mapping[str, Any]

REHEARSED = ("wan_anysplat", "wan_vggt", "cogvideox_vggt", "wan14b_anysplat")
DECODERS = {
    "original": "original network on the true frames",
    "sequential": "decode to frames, then the original network",
    "stitched": "stitched, closed form only",
    "stitched_distilled": "stitched and distilled",
}


def read(reports: Path, name: str) -> Report:
    """The report ``name`` (without ``.json``)."""
    told: Report = json.loads((reports / f"{name}.json").read_text(encoding="utf-8"))
    return told


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def span(figure: Mapping[str, float], digits: int, unit: str = "", signed: bool = False, scale: float = 1.0) -> str:
    """A figure with its 95 % interval: ``24.8 dB (24.1 to 25.5)``; reports call the middle ``value``, ``mean`` or ``difference``."""
    name = next(key for key in ("difference", "ratio", "value", "mean") if key in figure)
    prefix = f"{name}_" if name in {"difference", "ratio"} else ""
    middle, low, high = (figure[key] for key in (name, f"{prefix}low", f"{prefix}high"))
    shown = f"{scale * middle:{'+' if signed else ''}.{digits}f}{unit}"
    return f"{shown} ({scale * low:.{digits}f} to {scale * high:.{digits}f})"


def summary(reports: Path) -> str:
    """The few figures that README shows."""
    evaluate, claims, score = (read(reports, name) for name in ("evaluate", "claims", "score"))
    truth = evaluate["geometry"]["truth"]
    chosen = score["points"][score["chosen"]]
    rerender, motion = evaluate["film"]["rerender"], evaluate["film"]["motion"]
    rows = [
        (f"Variance explained at the chosen block, `{score['chosen']}`", f"{100 * chosen['r2_heldout']:.0f} %"),
        *(
            (f"Novel views, {DECODERS[name]}", span(truth[name]["nvs_psnr"], 1, " dB"))
            for name in ("original", "sequential", "stitched_distilled")
        ),
        ("Videos re-rendered by the original network, before alignment", f"{rerender['before']:.1f} dB"),
        ("The same after alignment, and the gain", f"{rerender['after']:.1f} dB, {span(rerender, 1, ' dB', signed=True)}"),
        (
            "Camera motion before and after (curated clips: "
            f"{evaluate['film']['clips']['motion']['mean']:.2f})",
            f"{motion['before']:.2f}, {motion['after']:.2f}",
        ),
        (f"Claims of the paper and bars of this project ({len(claims['about']['seeds'])} seeds)", verdict_counts(claims)),
    ]  # fmt: skip
    return table(("measured on the embedded networks", "result (95 % interval)"), rows)


def verdict_counts(claims: Report) -> str:
    """How many of the claims hold; ``KeyError`` for a verdict that is not known here."""
    said = {
        "holds": "hold",
        "does not hold": "do not hold",
        "not decided": "not decided",
        "not testable here": "not testable here",
    }
    counts = Counter(said[claim["verdict"]] for claim in claims["claims"])
    return ", ".join(f"{counts[words]} {words}" for words in said.values() if counts[words])


def memory(reports: Path) -> str:
    """Peak of device memory of each stage of the rehearsed pairings, and what they download."""
    told = {name: read(reports / "gpu" / "benchmarks", f"rehearse_{name}") for name in REHEARSED}

    def gib(name: str, stage: str) -> str:
        found = told[name]["stages"].get(stage)
        return f"{found['device_gib']:.0f} GiB" if found and found["done"] else "not run"

    rows = [
        (f"`{pair_name(name)}`", *(gib(name, stage) for stage in ("generate", "score", "distill", "align")),
         f"{report['download_bytes'] / 1e9:.0f} GB")
        for name, report in told.items()
    ]  # fmt: skip
    return table(("pairing", "generate", "find the layer", "distill", "align", "download"), rows)


def pair_name(rehearsal: str) -> str:
    """``wan_vggt`` as it is typed: ``wan+vggt``."""
    return rehearsal.replace("_", "+")


def this_commit(reports: Path) -> str:
    """The page of what ``make stitch`` measured."""
    score, distill, evaluate, align = (read(reports, name) for name in ("score", "distill", "evaluate", "align"))
    chosen = score["points"][score["chosen"]]
    under_noise = score["under_noise"]
    distances = ("depth_absrel", "points", "rotation_deg", "translation")
    units = {"rotation_deg": ("°", 2)}

    def distance(values: Mapping[str, float], medians: Mapping[str, float] | None = None) -> list[str]:
        cells = []
        for name in distances:
            unit, digits = units.get(name, ("", 3))
            text = f"{values[name]:.{digits}f}{unit}"
            cells.append(text + (f" ({medians[name]:.{digits}f}{unit})" if medians else ""))
        return cells

    head = ("mean over clips (median)", "depth, relative", "points", "rotation", "camera centers")
    median, sequential = distill["median"], evaluate["geometry"]["distance_to_original"]["sequential"]
    distilled = table(
        head,
        [
            ("stitched, closed form only", *distance(distill["before"], median["before"])),
            ("after distillation", *distance(distill["after"], median["after"])),
            ("ratio", *(f"{distill['ratio'][name]:.2f} ({median['ratio'][name]:.2f})" for name in distances)),
            ("decode to frames, then the original network", *distance(sequential)),
        ],
    )
    truth = evaluate["geometry"]["truth"]
    against_truth = table(
        ("", "depth, relative", "rotation", "novel views"),
        [
            (
                said,
                span(truth[name]["depth_absrel"], 3),
                span(truth[name]["rotation_deg"], 2, "°"),
                span(truth[name]["nvs_psnr"], 1, " dB"),
            )
            for name, said in DECODERS.items()
        ],
    )
    film, generation = evaluate["film"], evaluate["generation"]
    clips = film["clips"]
    rows = (
        ("videos, re-rendered by the original network", film["rerender"], 1, " dB", 1.0),
        (f"motion of their camera (held-out clips: {clips['motion']['mean']:.2f})", film["motion"], 2, "", 1.0),
        (f"flicker of their light (held-out clips: {clips['flicker']['mean']:.4f})", film["flicker"], 3, "", 1.0),
        ("distance between videos of one prompt", film["diversity"], 2, "", 1.0),
        ("text score of the judge, decoded frames", generation["judge/text_decoded"], 3, "", 1.0),
        ("prompts that the judge finds right, decoded frames", generation["accuracy/decoded"], 0, " %", 100.0),
        ("the same, renderings", generation["accuracy/rendered"], 0, " %", 100.0),
        ("reprojection error between views, pixels", generation["reprojection/pixels"], 3, "", 1.0),
    )
    aligned = table(
        ("", "before", "after", "difference"),
        [
            (said, f"{scale * f['before']:.{digits}f}{unit}", f"{scale * f['after']:.{digits}f}{unit}",
             span(f, digits, unit, signed=True, scale=scale))
            for said, f, digits, unit, scale in rows
        ],
    )  # fmt: skip
    ranking = table(
        ("rank", "block", "held-out R² on clean latents", "95 % interval", "R² under as much noise as signal"),
        [
            (
                str(rank),
                f"`{name}`",
                f"{score['points'][name]['r2_heldout']:.3f}",
                f"{score['points'][name]['r2_low']:.3f} to {score['points'][name]['r2_high']:.3f}",
                f"{under_noise['1'][name]:.3f}",
            )
            for rank, name in enumerate(score["ranking"], 1)
        ],
    )
    lead = score["lead"]
    return f"""# Results of this commit

Made from `reports/score.json`, `distill.json`, `align.json` and `evaluate.json`, which `dvc repro` writes: the embedded networks on
two CPU cores, one seed. `make stitch` measures the same anew.

## Which block

{score["scenes"]} held-out clips, fitted for latents with noise of {100 * score["latent_noise"]:.0f} % of their root mean square.
`{score["chosen"]}` is chosen: it explains {100 * chosen["r2_heldout"]:.0f} % of the variance of the activations,
{lead["r2"]:.3f} ({lead["low"]:.3f} to {lead["high"]:.3f}) more than `{lead["over"]}`. Reason, in the words of the report: {score["reason"]}.

{ranking}
![Held-out R² and error per block](score.png)

The points of a network that are no complete entry (a head reads an earlier block too) are ranked, and cannot be chosen.
[Which layer is best](layer_study.md) asks whether a good fit also means good outputs.

## What distillation adds

Distance of the stitched decoder to the original network, {distill["clips"]} held-out clips (last line: {evaluate["geometry"]["clips"]} clips).
A few clips carry much of the mean, so it lies above the median.

{distilled}
## Against the truth

Scenes that no network has seen, with exact cameras and depth; mean and 95 % interval.

{against_truth}
## What alignment changes

{generation["prompts"]} held-out prompts with the same noise before and after; {align["steps"]} steps. Mean, and the paired difference with
its 95 % bootstrap interval. Nothing is optimized against the judge.

{aligned}
In the words of the report:

{_statements(film["statements"])}
- adapter kept: {align["kept_because"]}

![Generation before and after alignment](evaluate.png)
"""


def _statements(statements: Mapping[str, str]) -> str:
    return "\n".join(f"- {text}" for text in statements.values())


def on_a_gpu(reports: Path) -> str:
    """The page of benchmarks and rehearsals at full size."""
    folder = reports / "gpu" / "benchmarks"
    search, generate, alignment, reconstruction, geometry, rollout, precision = (
        read(folder, name)
        for name in ("layer_search", "generate", "alignment", "reconstruction", "geometry_rewards", "adapter_rollout", "adapter_precision")
    )  # fmt: skip
    encoder, blocks, public = search["encoder"], search["all_blocks"], search["public"]
    searched = table(
        ("", "scenes", "points", "time", "over the bare forward passes", "host memory beside the frames"),
        [
            (said, f"{part['scenes']:.0f}", f"{part['points']:.0f}", f"{part['seconds']:.0f} s", f"{part['ratio']:.2f} times",
             f"{part['host_peak_beyond_frames']:.1f} GiB")
            for said, part in (("encoder blocks", encoder), ("all blocks", blocks))
        ],
    )  # fmt: skip
    ours, theirs = generate["ours"], generate["public"]
    steps = table(
        ("a step of alignment", "time", "memory", "against the plain step"),
        [
            ("plain, as the public code makes it", f"{alignment['plain']['step']:.1f} s", f"{alignment['plain']['peak']:.1f} GiB", ""),
            *(
                (said, f"{part['step']:.1f} s", f"{part['peak']:.1f} GiB",
                 f"{part['faster']:.2f} times as fast, {part['memory']:.2f} of the memory")
                for said, part in (("ours, eager", alignment["ours"]["eager"]), ("ours, compiled", alignment["ours"]["compiled"]),
                                   ("ours, compiled, activations kept", alignment["ours"]["compiled-kept"]))
            ),
        ],
    )  # fmt: skip
    vggt = table(
        ("VGGT", "code", "time", "memory"),
        [
            (row["task"], row["code"], f"{1000 * row['seconds']:.0f} ms", f"{row['peak']:.1f} GiB")
            for row in reconstruction["measured"]
            if row["network"] == "vggt-1b" and row["batch"] == 1
        ],
    )
    medians, ratios = geometry["medians"], geometry["ratios"]
    milliseconds = table(
        ("adapter during denoising", "eager", "compiled", "entries lost to rounding"),
        [
            (
                said,
                f"{part['eager']:.0f} ms",
                f"{part['compiled']:.0f} ms",
                f"{part['lost']:.1%}" if "lost" in part else "",
            )
            for said, part in rollout["milliseconds"].items()
        ],
    )
    return f"""# Full size on a GPU

Made from `reports/gpu/benchmarks`. One {search["device"]}; random weights of the published sizes, so no checkpoint is needed. Each script
measures what it compares with in the same process.

## Layer search

{searched}
The published procedure, extrapolated from a few scenes: {public["seconds"]:.0f} s and {public["host_gib"]:.0f} GiB for the encoder blocks.
`benchmarks/layer_search.py`.

## Prompt to Gaussians

Wan 2.1 1.3B and AnySplat, 13 frames of 512 px, {generate["steps"]} steps. Ours: {ours["total"]:.1f} s and {ours["peak"]:.1f} GiB. The pipeline of
diffusers, run as the public code runs it: {theirs["total"]:.1f} s and {theirs["peak"]:.1f} GiB. The latents are equal up to rounding.
Measured with the adapter added to the weights. `benchmarks/generate.py`.

## A step of alignment

Wan 2.1 1.3B and AnySplat, {alignment["sampling"]["denoising_steps"]} denoising steps, {alignment["sampling"]["clips_per_step"]} clips.

{steps}
The first compiled step takes {alignment["ours"]["compiled"]["first"]:.0f} s. The cosine of the whole gradient to the plain one is
{alignment["ours"]["eager"]["cosines_same_rollout"]["whole"]:.6f} from the same rollout; of the reward's part alone
{alignment["ours"]["eager"]["cosines_same_rollout"]["reward"]:.4f} eager and
{alignment["ours"]["compiled"]["cosines_same_rollout"]["reward"]:.3f} compiled. Random networks make much of any rounding: two plain steps, with
and without autocast, come to {alignment["cosines"]["plain to plain under autocast"]["reward"]:.3f}. `benchmarks/alignment.py`.

With `align.rewards_from=geometry` and two scorers a step takes {medians["geometry"]["memory"]:.0f} GiB instead of
{medians["full"]["memory"]:.0f}, and {ratios["step"]:.2f} of the time, as most of it is the rollout. `benchmarks/geometry_rewards.py`.

## Reconstruction

{reconstruction["views"]} views of 448 px. `benchmarks/reconstruction.py`.

{vggt}
## Adapters in half precision

{milliseconds}
A small adapter that is added to weights of bfloat16 is rounded off, so it stays beside them. Over {precision["steps"]} steps an adapter of
float32 goes where a float64 twin goes (cosine {precision["adapter"]["cosine"]:.6f}); one of bfloat16 does not
({precision["adapter in bfloat16"]["cosine"]:.2f}). `benchmarks/adapter_rollout.py`, `benchmarks/adapter_precision.py`.

## Rehearsals

One step of every stage at full size, with random weights: `kedro run --pipelines=rehearse`. Seconds, and peak of device memory.

{rehearsals(reports)}"""


def rehearsals(reports: Path) -> str:
    """Every stage of every rehearsed pairing."""
    told = {name: read(reports / "gpu" / "benchmarks", f"rehearse_{name}") for name in REHEARSED}
    stages = list(dict.fromkeys(stage for report in told.values() for stage in report["stages"]))

    def cell(name: str, stage: str) -> str:
        found = told[name]["stages"].get(stage)
        if found is None or not found["done"]:
            return "not run"
        return f"{found['seconds']:.0f} s, {found['device_gib']:.1f} GiB ({found['note']})"

    rows = [(stage, *(cell(name, stage) for name in told)) for stage in stages]
    rows.append(("to download", *(f"{report['download_bytes'] / 1e9:.1f} GB" for report in told.values())))
    return table(("stage", *(f"`{pair_name(name)}`" for name in told)), rows)
