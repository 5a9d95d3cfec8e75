"""The picture of the layer study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vist3a_app.pages.charts import MAIN, MUTED, kind_colors

SHOWN = {
    "depth_absrel": "depth, relative",
    "rotation_deg": "rotation, degrees",
    "points": "points",
    "rendered_l1": "renderings, L1",
}


def study_chart(report: Mapping[str, Any]) -> Any:
    """Above: held-out R^2 of all points, a mark with interval per seed. Below: errors of the stitched network's outputs over the
    fit's error, before (hollow) and after distillation, a line per seed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.15, 1])[:, 0]
    top = above.subplots()
    names = sorted(report["curve"], key=lambda name: report["curve"][name]["index"])
    seeds = [str(seed) for seed in report["seeds"]]
    colors = kind_colors(report["curve"][name] for name in names)
    for place, name in enumerate(names):
        point = report["curve"][name]
        colour = colors[point["kind"]]
        for number, seed in enumerate(seeds):
            x = place + 0.18 * (number - (len(seeds) - 1) / 2)
            top.vlines(x, point["low"][seed], point["high"][seed], color=colour, linewidth=1.5, alpha=0.5)
            top.scatter(
                x, point["r2"][seed], s=24, facecolor=colour if point["complete"] else "white", edgecolor=colour
            )
    top.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    top.set_ylabel("held-out R², 95 % over scenes")
    top.set_title(f"Layer search on {len(seeds)} sets of scenes (hollow: not a complete entry)")
    top.grid(alpha=0.25)
    shown = {error: label for error, label in SHOWN.items() if error in report["distilled"][0]["after"]}
    axes = below.subplots(1, len(shown))
    styles = dict(zip(seeds, ("-", "--", ":", "-.") * len(seeds), strict=False))
    for axis, (error, label) in zip(axes, shown.items(), strict=True):
        for seed in seeds:
            rows = sorted((row for row in report["distilled"] if str(row["seed"]) == seed), key=lambda row: -row["r2"])
            fit_errors = [1 - row["r2"] for row in rows]
            for stage, colour, face in (("before", MUTED, "white"), ("after", MAIN, MAIN)):
                y = [row[stage][error] for row in rows]
                axis.plot(fit_errors, y, color=colour, linestyle=styles[seed], linewidth=1, zorder=1)
                axis.scatter(fit_errors, y, s=26, facecolor=face, edgecolor=colour, zorder=2)
        axis.set_xlabel("1 - R² of the fit")
        axis.set_title(label, fontsize=10)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
    axes[0].scatter([], [], facecolor="white", edgecolor=MUTED, label="before distillation")
    axes[0].scatter([], [], color=MAIN, label="after; a line per seed")
    axes[0].legend(fontsize=8)
    below.suptitle("Distance of the stitched network's outputs to the original's", fontsize=11)
    return figure
