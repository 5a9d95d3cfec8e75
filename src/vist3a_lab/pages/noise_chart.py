"""The picture of decoders under noise on their latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vist3a_app.pages.charts import MAIN, MUTED

SHOWN = {
    "rotation_deg": "rotation, degrees (less is better)",
    "depth_absrel": "depth, relative (less is better)",
    "points": "pointmaps, relative (less is better)",
    "normals": "normal consistency (more is better)",
}
STYLES = {"stitched_distilled": ("stitched and distilled", MAIN), "sequential": ("decoded first", MUTED)}


def noise_chart(noise: Mapping[str, Any]) -> Any:
    """A panel per figure: mean by share of noise, 95 % intervals; ``noise`` is ``{share: {variant: {figure: estimate}}}``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    shares = sorted(noise, key=float)
    places = [100 * float(share) for share in shares]
    axes = figure.subplots(1, len(SHOWN))
    for axis, (name, title) in zip(axes, SHOWN.items(), strict=True):
        for variant, (label, colour) in STYLES.items():
            found = [noise[share][variant][name] for share in shares]
            axis.plot(places, [one["value"] for one in found], color=colour, marker="o", markersize=4, label=label)
            low, high = ([one[end] for one in found] for end in ("low", "high"))
            axis.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set_xticks(places)
        axis.tick_params(labelsize=8)
        axis.set_xlabel("noise, % of the latents' RMS", fontsize=9)
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.25)
    axes[0].legend(fontsize=8)
    return figure
