"""The layer search as the study asks for it: again and again, with some options changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vist3a.stitching.extract import TapConfig
from vist3a.stitching.layer_search import LayerSearch, search_clips
from vist3a_app.pipelines.extract.params import ExtractParams
from vist3a_app.pipelines.networks import Networks
from vist3a_app.pipelines.score.params import ScoreParams
from vist3a_lab.studies.layer_study import StudyClips


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
