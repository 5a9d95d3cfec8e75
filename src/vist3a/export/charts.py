"""Charts of the reports. Figures are made without pyplot, so nothing global is touched and no display is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENCODER, AGGREGATOR, MUTED = "#2563eb", "#d97706", "#94a3b8"


def layer_curve(report: Mapping[str, Any]) -> Any:
    """Held-out R^2 (higher is better) and MSE per stitch point, in network order; points that cannot be entered are hollow."""
    from matplotlib.figure import Figure

    names = list(report["points"])
    points = [report["points"][name] for name in names]
    colours = [ENCODER if point["kind"] == "encoder" else AGGREGATOR for point in points]
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    for axis, key, label in ((top, "r2_heldout", "held-out R²"), (bottom, "mse_heldout", "held-out MSE")):
        values = [point[key] for point in points]
        axis.plot(range(len(names)), values, color=MUTED, linewidth=1, zorder=1)
        for i, (point, colour) in enumerate(zip(points, colours, strict=True)):
            face = colour if point["complete"] else "white"
            axis.scatter(i, values[i], s=42, facecolor=face, edgecolor=colour, zorder=2)
        axis.set_ylabel(label)
        axis.grid(alpha=0.25)
    plain = [point["r2_heldout_conv"] for point in points]
    top.plot(range(len(names)), plain, color=MUTED, linestyle=":", label="convolution alone (no bias per position)")
    index = names.index(report["chosen"])
    top.axvline(index, color="#16a34a", linewidth=1.5, alpha=0.7, label=f"chosen: {report['chosen']}")
    for colour, label in ((ENCODER, "encoder"), (AGGREGATOR, "aggregator")):
        top.scatter([], [], color=colour, label=label)
    top.scatter([], [], facecolor="white", edgecolor=MUTED, label="not a complete entry")
    top.legend(fontsize=8, ncols=2)
    top.set_title("Which block is the best linear function of the video latents?")
    bottom.set_yscale("log")
    bottom.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    return figure
