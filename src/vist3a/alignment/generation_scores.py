"""Scores of generated scenes, per prompt: what the reward optimised, what an independent judge says, and whether the geometry
agrees with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.alignment.decoded_views import decode_views
from vist3a.alignment.rewards.base import Kind
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.direction import Metric, measured
from vist3a.metrics.reprojection import reprojection_errors
from vist3a.rendering.base import Renderer
from vist3a.stitching.base import Decoder

Verdict = Callable[[str, Float[Tensor, "views 3 height width"]], bool]
"""Whether frames show what a prompt says."""


@torch.no_grad()
def score_scenes(
    generator: VideoGenerator,
    decoder: Decoder,
    render: Renderer,
    scorers: Mapping[str, WeightedSum],
    prompts: Sequence[str],
    latents: Sequence[Tensor],
    verdict: Verdict | None = None,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> tuple[dict[str, list[float]], list[Tensor]]:
    """Scores by name, one value per prompt, and the views of each scene, decoded over rendered [2, views, 3, height, width].

    Without Gaussians there are no renderings: [1, views, 3, height, width].

    ``<scorer>/total`` and every term, on all views; ``accuracy/decoded`` and ``accuracy/rendered``, the ``verdict`` (1 is right);
    ``reprojection/...``, the fields of ``ReprojectionErrors`` (less is better, but for ``covered``); and ``metrics`` by their
    names. ``latents`` are raw.
    """
    scores: dict[str, list[float]] = {}
    pictures = []
    kinds: tuple[Kind, ...] = ("decoded", "rendered") if decoder.network.has_gaussians else ("decoded",)
    for prompt, raw in zip(prompts, latents, strict=True):
        normalised = generator.normalise(raw)
        # The first latent frame stands for one view, every other one for a temporal stride of them.
        frames = (raw.shape[2] - 1) * generator.temporal_stride + 1
        views, scene = decode_views(generator, decoder, render, normalised, [prompt], torch.arange(frames), kinds)
        shown = {kind: views.images(kind) for kind in kinds}
        pictures.append(torch.cat(list(shown.values())).cpu())
        for name, scorer in scorers.items():
            total, parts = scorer(views)
            for term, value in {"total": total, **parts}.items():
                scores.setdefault(f"{name}/{term}", []).append(float(value))
        if verdict is not None:
            for kind, images in shown.items():
                scores.setdefault(f"accuracy/{kind}", []).append(float(verdict(prompt, images[0])))
        for name, value in vars(
            reprojection_errors(scene.depth, scene.cameras, shown["decoded"], gap=min(4, frames - 1))
        ).items():
            scores.setdefault(f"reprojection/{name}", []).append(float(value))
        for name, values in measured(metrics, scene, shown["decoded"]).items():
            scores.setdefault(name, []).append(float(values))
    return scores, pictures
