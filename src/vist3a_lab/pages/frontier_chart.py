"""The picture of what alignment trades: how far the camera moves against how well the video re-renders."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

from vist3a_app.pages.charts import CHOSEN, KINDS, MUTED

COLORS = {"true_clips": CHOSEN, "no_finetuning": MUTED, "beside": MUTED}
MARKS = {"true_clips": "*", "no_finetuning": "s", "beside": "D"}


def frontier_chart(films: Mapping[str, Any], kept: float) -> Any:
    """A point with 95 % intervals per variant; ``films`` is ``{variant: {figure: estimate}}``.

    The dashed line is the share ``kept`` of the true clips' motion, which an alignment must not fall below.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axis = figure.subplots()
    others = cycle(KINDS)
    for variant, rows in films.items():
        x, y = rows["film/motion"], rows["film/rerender"]
        axis.errorbar(
            x["value"], y["value"],
            xerr=[[x["value"] - x["low"]], [x["high"] - x["value"]]], yerr=[[y["value"] - y["low"]], [y["high"] - y["value"]]],
            color=COLORS.get(variant) or next(others), marker=MARKS.get(variant, "o"), markersize=7, linewidth=1, label=variant,
        )  # fmt: skip
        axis.annotate(variant, (x["value"], y["value"]), xytext=(6, 5), textcoords="offset points", fontsize=8)
    bar = kept * films["true_clips"]["film/motion"]["value"]
    axis.axvline(bar, color=CHOSEN, linestyle="--", linewidth=1)
    axis.set_xlabel(f"motion: camera's path over median depth (dashed: {kept:.0%} of true clips')")
    axis.set_ylabel("re-rendering by the original network, dB")
    axis.set_xlim(left=0)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    return figure
