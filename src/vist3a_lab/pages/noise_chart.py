"""The picture of decoders under noise on their latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vist3a_app.pages.charts import MAIN, MUTED

SHOWN = {
    "accuracy": "accuracy (less is better)",
    "completeness": "completeness (less is better)",
    "normals": "normal consistency (more is better)",
    "depth_absrel": "depth, relative (less is better)",
}
STYLES = {"stitched_distilled": ("stitched and distilled", MAIN), "sequential": ("decoded first", MUTED)}


def noise_chart(noise: Mapping[str, Any]) -> Any:
    """A panel per figure: mean by level of noise, 95 % intervals; ``noise`` is ``{level: {variant: {figure: estimate}}}``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    levels = sorted(noise, key=float)
    places = list(range(len(levels)))
    axes = figure.subplots(1, len(SHOWN))
    for axis, (name, title) in zip(axes, SHOWN.items(), strict=True):
        for variant, (label, colour) in STYLES.items():
            found = [noise[level][variant][name] for level in levels]
            axis.plot(places, [one["value"] for one in found], color=colour, marker="o", markersize=4, label=label)
            low, high = ([one[end] for one in found] for end in ("low", "high"))
            axis.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set_xticks(places, levels, rotation=45, fontsize=8)
        axis.set_xlabel("noise level alpha")
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.25)
    axes[0].legend(fontsize=8)
    return figure
