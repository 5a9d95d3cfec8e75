"""Scores of generated scenes, per prompt: what the reward optimised, and what an independent judge says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vist3a.models.generators.base import VideoGenerator
from vist3a.rendering.base import Renderer
from vist3a.rewards.weighted_sum import WeightedSum
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.training.align import decode_views


@torch.no_grad()
def score_scenes(
    generator: VideoGenerator,
    decoder: StitchedDecoder,
    render: Renderer,
    scorers: Mapping[str, WeightedSum],
    prompts: Sequence[str],
    latents: Sequence[Tensor],
) -> tuple[dict[str, list[float]], list[Tensor]]:
    """Per scorer: the total and every term, one value per prompt, on all views; and the views of each scene, decoded over
    rendered [2, views, 3, height, width]. ``latents`` are raw.
    """
    scores: dict[str, list[float]] = {}
    pictures = []
    for prompt, raw in zip(prompts, latents, strict=True):
        normalised = generator.normalise(raw)
        frames = (raw.shape[2] - 1) * generator.temporal_stride + 1
        views, _ = decode_views(generator, decoder, render, normalised, [prompt], torch.arange(frames))
        pictures.append(torch.cat([views.decoded, views.rendered]).cpu())
        for name, scorer in scorers.items():
            total, parts = scorer(views)
            for term, value in {"total": total, **parts}.items():
                scores.setdefault(f"{name}/{term}", []).append(float(value))
    return scores, pictures
