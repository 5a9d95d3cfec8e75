"""Films of an evaluation: what the original 3D network sees in them, and how much those of one prompt differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vist3a.alignment.rewards.consistency import Distance
from vist3a.data.clip_store import ClipStore
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.video import diversity, film_rows
from vist3a.networks.base import ReconstructionModel
from vist3a.rendering.base import Renderer
from vist3a_app.pipelines.evaluate.params import EvaluateParams


def rows_of_clips(
    params: EvaluateParams, store: ClipStore, network: ReconstructionModel, render: Renderer, device: torch.device
) -> dict[str, list[float]]:
    """Figures of held-out clips, one value each, cut to the length of a film; shorter ones, with a shorter path, are left out."""
    clips = (store.load(name).frames for name in store.names("heldout")[: params.clips])
    return film_rows(
        network, render, (film[: params.frames].to(device) for film in clips if len(film) >= params.frames)
    )


@torch.no_grad()
def distances_within_prompts(
    params: EvaluateParams,
    generator: VideoGenerator,
    network: ReconstructionModel,
    first: Sequence[Tensor],
    sample: Callable[[int], Sequence[Tensor]],
    distance: Distance | None,
) -> list[float]:
    """Mean distance of the films of each of a few prompts from different noise; empty where that is not asked for or unknown.

    Args:
        params: How many prompts and noises.
        generator: What decodes latents.
        network: Whose frames are compared: they have its size.
        first: Films of these prompts from the noise of the evaluation.
        sample: Latents of the same prompts from other noise, by its seed.
        distance: Of pairs of pictures.
    """
    if params.diversity is None or distance is None:
        return []
    draws = [list(first)]
    for other in range(1, params.diversity.noises):
        latents = sample(params.seed + other)
        draws.append([network.fit(generator.decode(raw))[0] for raw in latents])
    return [diversity(films, distance) for films in zip(*draws, strict=True)]
