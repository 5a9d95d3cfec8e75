"""Generated scenes of held-out prompts: sampled, scored, looked at as films."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vist3a import registry
from vist3a.alignment.generation_scores import score_scenes
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.data.prompt_list import read_prompts
from vist3a.data.world import World, prompt_kinds, unseen_prompts
from vist3a.generators.base import VideoGenerator
from vist3a.metrics.direction import Metric
from vist3a.metrics.film_comparison import Rows, compare_films
from vist3a.metrics.video import film_rows
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Condition
from vist3a.records.condition import Embed
from vist3a.rendering.base import Renderer
from vist3a.sampling.sampling import SamplingConfig, sample_latents
from vist3a.stitching.decoder import StitchedDecoder
from vist3a_app.pipelines.align.params import AlignParams
from vist3a_app.pipelines.align.phrasing import prompts_of
from vist3a_app.pipelines.evaluate.films import distances_within_prompts
from vist3a_app.pipelines.evaluate.judge import Judge
from vist3a_app.pipelines.evaluate.params import EvaluateParams

logger = logging.getLogger(__name__)


def heldout_prompts(params: EvaluateParams, align: AlignParams) -> tuple[list[str], list[tuple[str, ...]] | None]:
    """Those of the file, or of the world as many that the generator was not aligned on; and their kinds, where it has any."""
    if params.prompts_file is not None:
        return read_prompts(Path(params.prompts_file)), None
    world: World = registry.find("worlds", params.world, "evaluate.world")()
    prompts = unseen_prompts(world, params.seed, params.prompts, prompts_of(align))
    return prompts, prompt_kinds(world, prompts)


@dataclass(frozen=True)
class Block:
    """Prompts ``start`` to ``stop`` (of all, without the last), which share a rollout: its bits depend on which they are."""

    start: int
    stop: int


def blocks_of(count: int, batch: int) -> list[Block]:
    """All of ``count`` prompts, ``batch`` in a block.

    Example:
        >>> blocks_of(3, 2)
        [Block(start=0, stop=2), Block(start=2, stop=3)]
    """
    return [Block(start, min(start + batch, count)) for start in range(0, count, batch)]


@dataclass(frozen=True)
class Generated:
    """Of one state of a generator.

    Attributes:
        scores: Values by name, one per prompt, and ``pictures``, as :func:`score_scenes` gives them.
        pictures: See there; of the prompts that the contact sheet shows.
        films: What the original network sees in decoded frames, by name, one value per prompt.
        distances: Mean distance of the films of each of a few prompts; empty where it is not measured.
    """

    scores: dict[str, list[float]]
    pictures: list[Tensor]
    films: dict[str, list[float]]
    distances: list[float]


@dataclass(frozen=True)
class Evaluation:
    """What all states of a generator are measured with: the same prompts, noise, scorers and networks."""

    params: EvaluateParams
    decoder: StitchedDecoder
    original: ReconstructionModel
    render: Renderer
    scorers: Mapping[str, WeightedSum]
    judge: Judge
    metrics: Mapping[str, Metric]
    prompts: Sequence[str]
    embed: Embed
    negative: Condition
    device: torch.device

    def measure(self, generator: VideoGenerator, block: Block) -> Generated:
        """The generator as it is now, on some of the prompts."""
        params, config = self.params, self.params.part(SamplingConfig)
        asked = self.prompts[block.start : block.stop]

        def sample(prompts: Sequence[str], seed: int) -> list[Tensor]:
            return sample_latents(
                generator, self.embed, prompts, config, seed, self.device, self.negative, params.batch
            )

        scores, pictures = score_scenes(
            generator, self.decoder, self.render, self.scorers, asked, sample(asked, params.seed),
            self.judge.verdict, self.metrics,
        )  # fmt: skip
        # Decoded frames are the first kind.
        films = [scene[0].to(self.device) for scene in pictures]
        few = asked[: 0 if params.diversity is None else max(0, params.diversity.prompts - block.start)]
        distances = distances_within_prompts(
            params, generator, self.original, films[: len(few)], lambda seed: sample(few, seed), self.judge.distance
        )
        shown = pictures[: max(0, params.pictures - block.start)]
        return Generated(scores, shown, film_rows(self.original, self.render, films), distances)


def joined(parts: Sequence[Generated]) -> Generated:
    """Of all blocks, in their order."""
    return Generated(
        scores=_joined_rows([part.scores for part in parts]),
        pictures=[picture for part in parts for picture in part.pictures],
        films=_joined_rows([part.films for part in parts]),
        distances=[distance for part in parts for distance in part.distances],
    )


def _joined_rows(parts: Sequence[Rows]) -> dict[str, list[float]]:
    rows: dict[str, list[float]] = {}
    for part in parts:
        for name, values in part.items():
            rows.setdefault(name, []).extend(values)
    return rows


def film_report(before: Generated, after: Generated, clips: Rows, motion_bar: float, seed: int) -> dict[str, Any]:
    """Figures of films beside those of curated clips; what they say is told in the log, too."""
    report = compare_films(before.films, after.films, clips, motion_bar, seed, (before.distances, after.distances))
    for sentence in report["statements"].values():
        logger.info("%s", sentence)
    return report
