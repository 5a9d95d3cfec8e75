"""Charts of the reports. Figures are made without pyplot, so nothing global is touched and no display is needed."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

MAIN, MUTED, CHOSEN = "#2563eb", "#94a3b8", "#16a34a"
KINDS = (MAIN, "#d97706", "#9333ea", "#0891b2", "#be185d", "#65a30d")
"""Colors of the kinds of stitch points, in network order; after the last one they start anew."""


def kind_colors(points: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A color for each kind of stitch point, in the order in which ``points`` bring them.

    Example:
        >>> kind_colors([{"kind": "encoder"}, {"kind": "encoder"}, {"kind": "decoder"}])
        {'encoder': '#2563eb', 'decoder': '#d97706'}
    """
    kinds = dict.fromkeys(point["kind"] for point in points)
    return dict(zip(kinds, cycle(KINDS), strict=False))


def layer_curve(report: Mapping[str, Any]) -> Any:
    """Held-out R^2 with intervals, MSE, and R^2 per view, over the stitch points in network order; points that cannot be entered
    are hollow.
    """
    from matplotlib.figure import Figure

    names = list(report["points"])
    points = [report["points"][name] for name in names]
    figure = Figure(figsize=(9, 7.4), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[4, 2, 3])
    for axis, key, label in ((top, "r2_heldout", "held-out R²"), (middle, "mse_heldout", "held-out MSE")):
        points_over_layers(axis, points, key)
        axis.set_ylabel(label)
    places = range(len(names))
    for key, style, label in (
        ("r2_heldout_conv", ":", "convolution alone (no bias per position)"),
        ("r2_border", "--", "border of the grid"),
        ("cka", "-.", "linear CKA, for comparison"),
    ):
        # None is a number that a point does not have; matplotlib leaves NaN out.
        values = [float("nan") if point[key] is None else point[key] for point in points]
        top.plot(places, values, color=MUTED, linestyle=style, linewidth=1.2, label=label, zorder=1)
    top.axvline(
        names.index(report["chosen"]), color=CHOSEN, linewidth=1.5, alpha=0.7, label=f"chosen: {report['chosen']}"
    )
    for kind, color in kind_colors(points).items():
        # No points: an entry of the legend.
        top.scatter([], [], color=color, label=f"{kind}, 95 % interval over scenes")
    top.scatter([], [], facecolor="white", edgecolor=MUTED, label="not a complete entry")
    top.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.suptitle("Which block is the best linear function of the video latents?")
    middle.set_yscale("log")
    # NaN is left blank. Transposed below: a row per view.
    frames = [[float("nan") if value is None else value for value in point["r2_frames"]] for point in points]
    shown = bottom.imshow([*zip(*frames, strict=True)], aspect="auto", cmap="viridis")
    figure.colorbar(shown, ax=bottom, label="R²", pad=0.01)
    bottom.set_ylabel("view")
    bottom.yaxis.get_major_locator().set_params(integer=True)
    bottom.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    return figure


def points_over_layers(axis: Any, points: list[Mapping[str, Any]], key: str) -> None:
    """One number of every point in network order, coloured by kind; R^2 with its interval."""
    values = [point[key] for point in points]
    colors = kind_colors(points)
    axis.plot(range(len(points)), values, color=MUTED, linewidth=1, zorder=1)
    for place, point in enumerate(points):
        colour = colors[point["kind"]]
        if key == "r2_heldout":
            axis.vlines(place, point["r2_low"], point["r2_high"], color=colour, linewidth=1.5, alpha=0.6, zorder=1)
        face = colour if point["complete"] else "white"
        axis.scatter(place, values[place], s=36, facecolor=face, edgecolor=colour, zorder=2)
    axis.grid(alpha=0.25)


def png(figure: Any, dpi: int = 110) -> bytes:
    """The figure as a PNG file; without a date or version, so equal figures are equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
