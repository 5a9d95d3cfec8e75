"""Which latents should the stitch layer be fitted on: the posterior's mode or a sample, raw or normalised?

A fit is not judged by the latents it was made on alone, or the ones with less noise would win by themselves: every fit is read on
modes and on samples alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.functional_error import output_distance, stitched
from vist3a.stitching.heldout import PointErrors, measure
from vist3a.stitching.layer_search import LayerSearch, candidates
from vist3a.stitching.search import r2, r2_difference
from vist3a.stitching.tap import Tap
from vist3a_lab.studies.layer_study import StudyClips

LATENTS: Mapping[str, Mapping[str, str]] = {
    "mode, raw": {"latents": "mode", "latent_space": "raw"},
    "mode, normalised": {"latents": "mode", "latent_space": "normalised"},
    "sample, raw": {"latents": "sample", "latent_space": "raw"},
    "sample, normalised": {"latents": "sample", "latent_space": "normalised"},
}
READ_ON = ("mode", "sample")


def compare_latents(
    generator: VideoGenerator,
    network: ReconstructionModel,
    point: str,
    search_with: Callable[[Mapping[str, Any]], LayerSearch],
    clips: StudyClips,
    *,
    measured: int,
    batch: int,
    device: torch.device,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Of every kind of latents at ``point``: held-out R^2 read on modes and on samples, how far it is ahead of the first kind
    there, and the errors of the stitched network's outputs for the modes of ``measured`` held-out clips.

    ``search_with`` runs a search with some fields of ``TapConfig`` changed. ``seed`` draws samples and bootstrap.
    """
    report: dict[str, dict[str, Any]] = {}
    first: dict[str, PointErrors] = {}
    shown = clips.clips("heldout", measured)
    for name, kind in LATENTS.items():
        found = search_with({**kind, "seed": seed})
        decoder = StitchedDecoder(network, found.settings.spec, found.solved[point].layer).to(device)
        report[name] = {"outputs": output_distance(stitched(decoder, generator), network, shown, device)}
        for read in READ_ON:
            # The fit stays as it is; only the latents that it reads are others.
            tap = Tap(generator, network, replace(found.settings, sample_seed=seed if read == "sample" else None))
            names, load = clips.splits["heldout"], clips.frames.__getitem__
            errors = measure(tap, candidates(found.solved), names, load, batch=batch).points[point]
            # The first kind is what all are held against, per set of latents it is read on.
            reference = first.setdefault(read, errors)
            report[name][f"read_on_{read}"] = {
                "r2": r2(errors.scenes),
                "ahead_of_first": r2_difference(errors, reference, seed),
            }
    return report


def latents_statement(latents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which kinds are ahead of or behind the first kind, sentence by sentence.

    ``latents``: kind -> set of scenes -> what :func:`compare_latents` found. In R^2 a kind is ahead when its interval says so in
    every set; in the outputs it is told in how many comparisons (sets x errors) its error is the smaller one.
    """
    first, *others = LATENTS
    sentences = []
    for read in READ_ON:
        parts = []
        # Ahead with the lower end above 0, behind with the upper end below it.
        for word, end, sign in (("ahead of", "low", 1), ("behind", "high", -1)):
            key = f"read_on_{read}"
            names = [n for n in others if all(sign * f[key]["ahead_of_first"][end] > 0 for f in latents[n].values())]
            if names:
                parts.append(
                    f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {word} {first!r} in every set of scenes"
                )
        parts = parts or [f"no kind is ahead of or behind {first!r} in every set of scenes"]
        sentences.append(f"R² read on the {read}: {'; '.join(parts)}.")
    wins = {}
    for name in others:
        pairs = [
            (own["outputs"][error], latents[first][scenes]["outputs"][error])
            for scenes, own in latents[name].items()
            for error in own["outputs"]
        ]
        wins[name] = f"{name!r} in {sum(a < b for a, b in pairs)} of {len(pairs)}"
    sentences.append(f"Errors of the outputs smaller than with {first!r}: {', '.join(wins.values())}.")
    return sentences


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
