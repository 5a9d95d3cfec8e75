"""Which latents should the stitch layer be fitted on: the posterior's mode or a sample, raw or normalised?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from vist3a.models.generators.base import VideoGenerator
from vist3a.models.reconstruction.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import output_distance, stitched
from vist3a.stitching.heldout import PointErrors
from vist3a.stitching.search import r2_difference
from vist3a.training.layer_study import Found

LATENTS: Mapping[str, Mapping[str, bool]] = {
    "mode, raw": {"sample": False, "normalised": False},
    "mode, normalised": {"sample": False, "normalised": True},
    "sample, raw": {"sample": True, "normalised": False},
    "sample, normalised": {"sample": True, "normalised": True},
}


def compare_latents(
    generator: VideoGenerator,
    network: ReconstructionModel,
    point: str,
    search_with: Callable[[Mapping[str, Any]], Found],
    clips: list[Clip],
    device: torch.device,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Of every kind of latents, at ``point``: held-out R^2, how far it is ahead of the first kind, and the outputs' errors.

    ``search_with`` runs a search with some options of ``tap_settings`` changed. R^2 is on latents of the kind that was
    fitted; the outputs are those of the stitched network for the mode of ``clips``. ``seed`` draws samples and bootstrap.
    """
    report: dict[str, dict[str, Any]] = {}
    first: PointErrors | None = None
    for name, kind in LATENTS.items():
        found = search_with({"sample_seed": seed if kind["sample"] else None, "normalised": kind["normalised"]})
        errors = found.heldout.points[point]
        first = errors if first is None else first
        decoder = StitchedDecoder(network, found.settings.spec, found.layers[point]).to(device)
        report[name] = {
            "r2": next(score.r2_heldout for score in found.scores if score.point == point),
            "ahead_of_first": r2_difference(errors, first, seed),
            "outputs": output_distance(stitched(decoder, generator), network, clips, device),
        }
    return report


def latents_statement(latents: Mapping[str, Mapping[str, Any]]) -> str:
    """Which kinds are ahead of or behind the first kind in every set of scenes, by the intervals of R^2.

    ``latents``: kind -> set of scenes -> what :func:`compare_latents` found.
    """
    first, *others = latents
    parts = []
    for word, end, sign in (("ahead of", "low", 1), ("behind", "high", -1)):
        names = [name for name in others if all(sign * f["ahead_of_first"][end] > 0 for f in latents[name].values())]
        if names:
            listed = " and ".join(repr(name) for name in names)
            parts.append(f"{listed} {'is' if len(names) == 1 else 'are'} {word} {first!r} in R² in every set of scenes")
    return "; ".join(parts or [f"No kind is ahead of or behind {first!r} in R² in every set of scenes"]) + "."
