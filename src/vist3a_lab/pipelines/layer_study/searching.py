"""The layer search as the study asks for it: again and again, with some options changed, and for several levels of noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vist3a.records import StitchFit
from vist3a.stitching.extract import TapConfig, accumulate, tap_settings
from vist3a.stitching.grids import StitchSpec
from vist3a.stitching.layer_search import LayerSearch, search_clips, search_moments
from vist3a.stitching.search import Solved, solve_points
from vist3a.stitching.tap import Tap
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.score.params import ScoreParams
from vist3a_lab.studies.layer_study import StudyClips

Layer = tuple[StitchFit, StitchSpec]


def searching(
    networks: Networks, extract: ExtractParams, score: ScoreParams, clips: StudyClips, points: Sequence[str]
) -> Callable[[Mapping[str, Any]], LayerSearch]:
    """A function of changed fields of ``TapConfig`` that runs the search on a set of clips."""
    generator, network = networks.load_generator("vae"), networks.load_reconstruction()

    def search_with(changed: Mapping[str, Any]) -> LayerSearch:
        return search_clips(
            generator, network, clips.splits, clips.frames.__getitem__, replace(extract.part(TapConfig), **changed),
            points=points, ridges=score.ridges, bias=score.bias, batch=extract.batch, seed=score.seed,
        )  # fmt: skip

    return search_with


def search_for_noise(
    networks: Networks, extract: ExtractParams, score: ScoreParams, clips: StudyClips, shares: Sequence[float]
) -> tuple[LayerSearch, dict[float, Mapping[str, Solved]]]:
    """The search on clean latents, and the layers of all points by the share of noise that they are fitted for.

    The clips are met once: moments of noisy latents follow from those of clean ones.
    """
    generator, network = networks.load_generator("vae"), networks.load_reconstruction()
    load, names = clips.frames.__getitem__, clips.splits
    height, width = load(names["fit"][0]).shape[-2:]
    config = extract.part(TapConfig)
    tap = Tap(
        generator, network, tap_settings(generator, network, network.points_of(extract.kinds), (height, width), config)
    )
    fit, selection = (accumulate(tap, names[split], load, batch=extract.batch) for split in ("fit", "selection"))
    clean = search_moments(
        tap, fit, selection, names["heldout"], load, ridges=score.ridges, bias=score.bias, batch=extract.batch, seed=score.seed
    )  # fmt: skip
    solved: dict[float, Mapping[str, Solved]] = {
        share: solve_points(
            fit.noisy(share), selection.noisy(share), tap.settings, score.ridges, score.bias, tap.latent_statistics
        )
        for share in shares
    }
    return clean, solved


def layers_of(clean: LayerSearch, solved: Mapping[float, Mapping[str, Solved]]) -> dict[float, dict[str, Layer]]:
    """Stitch layers with their grids, by the share of noise that they were fitted for and by point."""
    return {
        share: {name: (own.layer, clean.settings.spec) for name, own in one.items()} for share, one in solved.items()
    }
