"""What looks at films measure: figures of what a generator makes, and the motion of curated clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from vist3a.generators.base import VideoGenerator
from vist3a.metrics.video import film_motion, film_rows
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.rendering.base import Renderer


def film_measures(
    generator: VideoGenerator,
    original: Callable[[], ReconstructionModel],
    render: Renderer,
    clips: Sequence[Clip],
    frames: int,
    count: int,
) -> tuple[Callable[[Sequence[Tensor]], dict[str, float]], Callable[[], float]]:
    """What :class:`~vist3a.alignment.film_looks.FilmLooks` asks for.

    Mean figures of raw latents, decoded; and the mean motion of the first ``count`` clips, cut to ``frames``. Clips that have
    fewer, and so a shorter path, are left out. ``original`` loads the network that looks, once, when it is first needed.

    Raises:
        ValueError: No clip is left.
    """
    long = [clip.frames for clip in clips if len(clip.frames) >= frames][:count]
    if not long:
        raise ValueError(
            f"align.watch.films_every: no curated clip has the {frames} frames of the films, so that there is no motion to hold "
            "them against; allowed: 0, or longer clips"
        )
    network = cache(original)
    device = next(generator.denoiser.parameters()).device

    def measure(latents: Sequence[Tensor]) -> dict[str, float]:
        with torch.no_grad():
            rows = film_rows(network(), render, (generator.decode(raw)[0] for raw in latents))
        return {name: sum(values) / len(values) for name, values in rows.items()}

    def clips_motion() -> float:
        values = [float(film_motion(network(), film[None, :frames].to(device))) for film in long]
        return sum(values) / len(values)

    return measure, clips_motion
