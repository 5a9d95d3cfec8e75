"""Looking at a generator while it is trained: always the same prompts and noise, scored by the reward and by a held-out judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vist3a.alignment.align import AlignData
from vist3a.alignment.align_settings import AlignSettings, WatchConfig
from vist3a.alignment.drift import DriftAlarm
from vist3a.alignment.film_looks import FilmLooks
from vist3a.alignment.film_measures import film_measures
from vist3a.alignment.generation_scores import score_scenes
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.export.video import image_sheet, to_bytes
from vist3a.generators.base import VideoGenerator
from vist3a.networks.base import ReconstructionModel
from vist3a.rendering import renderer_for
from vist3a.runtime.atomic import replacing
from vist3a.runtime.launch import ALONE, Processes
from vist3a.runtime.picture_log import PictureLog
from vist3a.sampling.sampling import sample_latents
from vist3a.stitching.decoder import StitchedDecoder

PREVIEW_VIEWS = 4
"""Views of a scene in a preview: one row decoded, one rendered where there are renderings."""


class Watch:
    """Called with the number of steps done, before the next; scores are kept in ``path``, so that a resumed run knows them.

    Draws nothing from the randomness of the training, and leaves the generator as it is.
    """

    def __init__(
        self,
        sample: Callable[[], list[Tensor]],
        score: Callable[[list[Tensor], bool], tuple[dict[str, list[float]], list[Tensor]]],
        config: WatchConfig,
        path: Path,
        pictures: PictureLog,
        films: FilmLooks | None = None,
    ) -> None:
        self._sample, self._score = sample, score
        self.config, self.path, self._pictures, self.films = config, path, pictures, films
        self._alarm = DriftAlarm(config.drift_window)
        stored = json.loads(path.read_text()) if path.is_file() else {}
        self.rows: dict[int, dict[str, float]] = {int(step): row for step, row in stored.items()}

    def __call__(self, step: int) -> dict[str, Tensor]:
        """The last scores as ``watch/...`` scalars; new ones where the step is due."""
        judged, shown, filmed = self._due(step)
        latents = self._sample() if judged or shown or filmed else []
        if filmed and self.films is not None:
            self.films.look(step, latents)
        if judged or shown:
            scores, pictures = self._score(latents, judged)
            if shown:
                self._pictures(step, preview(pictures))
            if judged:
                self._keep(step, {f"watch/{name}": sum(values) / len(values) for name, values in scores.items()})
        # Between two judgements the last one stands.
        past = [known for known in self.rows if known <= step]
        last = self.rows[max(past)] if past else {}
        films = self.films.scalars(step) if self.films is not None else {}
        return {name: torch.tensor(value) for name, value in {**last, **films}.items()}

    def accompany(self, step: int) -> dict[str, Tensor]:
        """What other processes do meanwhile: run a sharded generator as often, and forget what it made."""
        if any(self._due(step)):
            self._sample()
        return {}

    def finish(self, processes: Processes = ALONE, together: bool = False) -> None:
        """After the last step: a last look at films, and the adapter that kept the motion for the generator of every process.

        ``together``: the others run a sharded generator whenever the first one does.
        """
        films = self.films
        if films is None:
            return
        if films.due(films.last) and (processes.first or together):
            latents = self._sample()
            if processes.first:
                films.look(films.last, latents)
        films.settle(processes)

    def _due(self, step: int) -> tuple[bool, bool, bool]:
        """Whether to judge, to show, and to look at films; the stored scores are equal in all processes when they start."""
        judged = _divides(self.config.judge_every, step) and step not in self.rows
        return judged, _divides(self.config.previews_every, step), self.films is not None and self.films.due(step)

    def _keep(self, step: int, row: dict[str, float]) -> None:
        self.rows[step] = row
        # Rows of later steps may be known, from before a run went back to its checkpoint.
        series = {k: (r["watch/reward/total"], r["watch/judge/total"]) for k, r in self.rows.items() if k <= step}
        row["watch/drift"] = float(self._alarm(series))
        with replacing(self.path) as partial:
            partial.write_text(json.dumps(self.rows))


def watch_generator(
    generator: VideoGenerator,
    decoder: StitchedDecoder,
    scorers: Mapping[str, WeightedSum],
    data: AlignData,
    settings: AlignSettings,
    config: WatchConfig,
    *,
    path: Path,
    pictures: PictureLog,
    original: Callable[[], ReconstructionModel] | None = None,
) -> Watch:
    """A watch over ``generator`` while it is aligned on ``data`` with ``settings``; ranges are looked at in their middle.

    ``scorers`` are ``reward`` and ``judge`` (where there is one), scored on all views. ``original`` loads the 3D network
    that looks at films, the one that the decoder was stitched from; it is called once, at the first look, where
    ``config.films_every`` is set.

    Raises:
        ValueError: Films are to be looked at, but nobody is there to do it, or no clip is as long as they are.
    """
    device = next(generator.denoiser.parameters()).device
    prompts, sampling, render = data.prompts[: config.prompts], settings.middle_sampling(), renderer_for(device)

    # The training's own seed, but always that of its first step: every look is at the same noise.
    def sample() -> list[Tensor]:
        return sample_latents(generator, data.embed, prompts, sampling, settings.seed, device, data.negative)

    def score(latents: list[Tensor], judged: bool) -> tuple[dict[str, list[float]], list[Tensor]]:
        return score_scenes(generator, decoder, render, scorers if judged else {}, prompts, latents)

    films = None
    if config.films_every:
        if original is None:
            raise ValueError(f"align.watch.films_every: {config.films_every} needs a 3D network that looks; allowed: 0")
        films = FilmLooks(
            *film_measures(generator, original, render, data.clips, settings.frames, config.films_clips),
            settings.motion_bar, config.films_every, settings.loop.steps,
            {name: p for name, p in generator.denoiser.named_parameters() if p.requires_grad}, path.with_name("films.pt"),
        )  # fmt: skip
    return Watch(sample, score, config, path, pictures, films)


def preview(pictures: Sequence[Tensor]) -> np.ndarray:
    """A sheet of scenes [kinds, views, 3, height, width], a row per scene and kind; bytes [height, width, 3]."""
    rows = []
    for scene in pictures:
        count = scene.shape[1]
        # Evenly spread, with the first and the last view.
        chosen = [round(i * (count - 1) / (PREVIEW_VIEWS - 1)) for i in range(PREVIEW_VIEWS)]
        rows.append(scene[:, chosen].flatten(0, 1))
    sheet: np.ndarray = to_bytes(image_sheet(torch.cat(rows), columns=PREVIEW_VIEWS)[None])[0]
    return sheet


def _divides(every: int, step: int) -> bool:
    return every > 0 and step % every == 0
