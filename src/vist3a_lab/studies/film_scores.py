"""Generated videos as the original 3D network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.metrics.video import film_figures
from vist3a.networks.base import ReconstructionModel
from vist3a.rendering.base import Renderer

FILM = ("film/rerender", "film/motion", "film/flicker")
"""Names of :class:`vist3a.metrics.video.FilmFigures` in reports."""
DIVERSITY = "diversity"


def film_scores(
    network: ReconstructionModel,
    render: Renderer,
    videos: Sequence[Float[Tensor, "views 3 height width"]],
    batch: int,
    device: torch.device,
) -> dict[str, list[float]]:
    """``film/rerender`` (dB), ``film/motion`` and ``film/flicker``, a value per video; ``batch`` of them at once."""
    found: dict[str, list[float]] = {name: [] for name in FILM}
    for start in range(0, len(videos), batch):
        figures = film_figures(network, render, torch.stack(list(videos[start : start + batch])).to(device))
        for name in FILM:
            found[name] += getattr(figures, name.removeprefix("film/")).tolist()
    return found
