"""Films are watched, and the adapter of the last look that kept the motion is what alignment leaves; resumed or not."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_alignment import PROMPTS, decoder
from tiny_networks import tiny_generator, tiny_network
from torch import Tensor, nn

from vist3a.adapters.lora import add_lora
from vist3a.alignment.align import AlignData, AlignRun, align
from vist3a.alignment.align_settings import AlignSettings, WatchConfig
from vist3a.alignment.film_looks import FilmLooks
from vist3a.alignment.film_measures import film_measures
from vist3a.alignment.rewards.base import Need, Views
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.alignment.watch import Watch, watch_generator
from vist3a.metrics.video import film_figures, motion
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip
from vist3a.rendering import renderer_for
from vist3a.runtime.launch import Processes
from vist3a.runtime.loop import LoopConfig
from vist3a.stitching.decoder import StitchedDecoder

CPU = torch.device("cpu")
STEPS = 6


class Killed(Exception):
    """Ends a training as a kill would: what it has written stays."""


def looks(path: Path, motions: Sequence[float], parameter: nn.Parameter, every: int = 1) -> FilmLooks:
    """At films whose motion is told; curated clips have 1, and half of it is to be kept."""
    told = iter(motions)
    last = (len(motions) - 1) * every
    return FilmLooks(
        lambda _: {"motion": next(told), "flicker": 0.1}, lambda: 1.0, 0.5, every, last, {"p": parameter}, path
    )


@pytest.mark.parametrize(
    ("motions", "kept", "because"),
    [
        ([0.9, 0.8, 0.7, 0.5], 6, "the last adapter keeps the motion: 0.5 of at least 0.5 (0.5 of the 1 of curated clips)"),
        ([0.9, 0.8, 0.6, 0.2], 4, "the last adapter (step 6) has motion 0.2, under 0.5 (0.5 of the 1 of curated clips); kept is"),
        ([0.9, 0.1, 0.6, 0.2], 4, "kept is that of step 4, the last that was looked at and keeps it, with 0.6"),
        ([0.9, 0.4, 0.3, 0.2], 0, "kept is that of step 0"),
        ([0.3, 0.4, 0.4, 0.2], 4, "no adapter that was looked at keeps the motion, at least 0.5 (0.5 of the 1 of curated clips)"),
        ([0.1, 0.6, 0.2, 0.3], 2, "kept is that of step 2"),
        ([float("nan"), 0.1, float("nan"), 0.0], 2, "kept is that of step 2, with the most: 0.1"),
    ],
)  # fmt: skip
def test_the_last_adapter_that_kept_the_motion_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, motions: list[float], kept: int, because: str
) -> None:
    """Or, if there is none, that with the most motion; the same after a kill behind any look."""
    reports = []
    for stop in (None, 0, 2, 4, 6):
        parameter, path = nn.Parameter(torch.zeros(3)), tmp_path / f"{stop}.pt"
        watching = looks(path, motions, parameter, every=2)
        for step in range(7):
            if watching.due(step):
                with torch.no_grad():
                    parameter.fill_(float(step))
                watching.look(step, [])
            if step == stop:
                watching = looks(path, motions[step // 2 + 1 :], parameter, every=2)
                watching.last = 6
        with torch.no_grad():
            parameter.fill_(-1.0)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "vist3a"):
            watching.settle()
        assert parameter.tolist() == [float(kept)] * 3
        reports.append(watching.report())
        told = [record.getMessage() for record in caplog.records]
        assert told == ([] if because.startswith("the last adapter keeps") else [reports[0]["kept_because"]])
    assert all(report == reports[0] for report in reports)
    assert reports[0]["kept_step"] == kept and because in reports[0]["kept_because"]
    assert reports[0]["motion"] | {"by_step": None, "kept": None, "last": None} == {
        "kept": None, "last": None, "clips": 1.0, "bar": 0.5, "by_step": None,
    }  # fmt: skip
    assert list(reports[0]["motion"]["by_step"]) == ["0", "2", "4", "6"]


def test_motion_under_the_bar_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watching = looks(tmp_path / "films.pt", [0.9, 0.4, 0.3, 0.6, 0.2, 0.1], nn.Parameter(torch.zeros(1)))
    with caplog.at_level(logging.WARNING, "vist3a"):
        for step in range(6):
            watching.look(step, [])
    told = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in told] == [
        "at step 1 the motion of the watched films is 0.4", "at step 4 the motion of the watched films is 0.2",
    ]  # fmt: skip
    caplog.clear()
    looks(tmp_path / "other.pt", [0.4, 0.9], nn.Parameter(torch.zeros(1))).look(0, [])
    assert caplog.messages == [
        "before it is aligned, the motion of the watched films is 0.4, under 0.5 (0.5 of the 1 of curated clips)"
    ]
    assert watching.scalars(3) == {"watch/motion": 0.6, "watch/flicker": 0.1}


def test_films_judge_and_pictures_share_what_is_sampled(tmp_path: Path) -> None:
    """The first process samples once a step at most, a companion as often; films are due at the end as well."""
    sampled: dict[str, list[int]] = {"first": [], "other": []}

    def watching(name: str) -> Watch:
        def sample() -> list[Tensor]:
            sampled[name].append(step)
            return []

        films = looks(tmp_path / f"{name}.pt", [0.9, 0.8, 0.7], nn.Parameter(torch.zeros(1)), every=2)
        return Watch(
            sample, lambda latents, judged: ({"reward/total": [0.0], "judge/total": [0.0]}, [torch.zeros(1, 4, 3, 16, 16)]),
            WatchConfig(judge_every=2, previews_every=3), tmp_path / f"{name}.json", lambda step, picture: None, films,
        )  # fmt: skip

    first, other = watching("first"), watching("other")
    for step in range(4):
        first(step)
        other.accompany(step)
    step = 4
    first.finish()
    assert sampled == {"first": [0, 2, 3, 4], "other": [0, 2, 3]}
    assert first.films is not None and list(first.films.rows) == [0, 2, 4]
    # Whoever holds a part of a sharded generator runs it at the end, too; others do not.
    other.finish(Processes(1, 1), together=True)
    assert sampled["other"] == [0, 2, 3, 4]
    other.finish(Processes(1, 1))
    assert sampled["other"] == [0, 2, 3, 4]


class Standing:
    """A reward that stops the camera which the original network sees in decoded frames."""

    needs: frozenset[Need] = frozenset({"decoded"})

    def __init__(self, network: ReconstructionModel) -> None:
        self.network = network

    def __call__(self, views: Views) -> Tensor:
        scene = self.network.reconstruct(views.images("decoded"), with_gaussians=False)
        return -motion(scene.cameras, scene.depth)


@pytest.fixture(scope="module")
def original() -> ReconstructionModel:
    torch.manual_seed(0)
    return tiny_network().requires_grad_(False)


@pytest.fixture(scope="module")
def stitched() -> StitchedDecoder:
    torch.manual_seed(0)
    return decoder(tiny_network())


SETTINGS = AlignSettings(
    seed=3, prompts_per_step=6, clips_per_step=1, denoising_steps=2, gradient_steps=2, guidance=1.5, scored_views=5,
    generative_weight=0.0, frames=5, height=16, width=16,
    loop=LoopConfig(STEPS, 0.03, warmup=0, log_every=1, checkpoint_every=2, ema=0.5, gradient_clip=1e9, weight_decay=0.0),
)  # fmt: skip


def some_clips() -> list[Clip]:
    random = torch.Generator().manual_seed(1)
    # The first is too short to be compared with.
    return [Clip(f"c{n}", torch.rand(n, 3, 16, 16, generator=random).double(), PROMPTS[0]) for n in (1, 5, 9)]


def run(
    folder: Path, original: ReconstructionModel, stitched: StitchedDecoder, bar: float, stop: int | None = None
) -> tuple[dict[str, Tensor], FilmLooks, dict[int, dict[str, Tensor]], dict[int, Mapping[str, float]]]:
    """The adapter after an alignment that stops the camera, the looks, the adapters that were looked at, and what was logged."""
    generator = tiny_generator()
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
    generator.denoiser.to(torch.float64)
    adapter = {name: p for name, p in generator.denoiser.named_parameters() if p.requires_grad}
    settings = replace(SETTINGS, motion_bar=bar)
    data = AlignData(PROMPTS, some_clips(), generator.embed)
    watching = watch_generator(
        generator, stitched, {}, data, settings, WatchConfig(films_every=2), path=folder / "watch.json",
        pictures=lambda step, picture: None, original=lambda: original,
    )  # fmt: skip
    seen: dict[int, dict[str, Tensor]] = {}

    def watch(step: int) -> Mapping[str, Tensor]:
        if step == stop:
            raise Killed
        seen[step] = {name: p.detach().clone() for name, p in adapter.items()}
        return watching(step)

    logged: dict[int, Mapping[str, float]] = {}
    following = AlignRun(
        folder / "loop.pt", lambda step, scalars: logged.update({step: dict(scalars)}), watch, watching.finish
    )
    with suppress(Killed):
        align(
            generator,
            stitched,
            WeightedSum({"standing": Standing(original)}, {"standing": 1.0}),
            data,
            settings,
            following,
        )
    assert watching.films is not None
    return {name: p.detach() for name, p in adapter.items()}, watching.films, seen, logged


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_where_the_camera_stops_the_earlier_adapter_is_left_also_by_a_resumed_run(
    tmp_path: Path, original: ReconstructionModel, stitched: StitchedDecoder
) -> None:
    """By construction: the reward is minus the motion that is watched, and it falls from look to look."""
    free = run(tmp_path / "free", original, stitched, bar=1e-9)
    motions = {step: row["motion"] for step, row in free[1].rows.items()}
    assert list(motions) == [0, 2, 4, 6]
    assert motions[0] > motions[2] > motions[4] > motions[6]
    assert free[1].kept_step == STEPS and free[1].bar is not None
    # What is logged is the last look, of an average of the adapter that is trained.
    shown = [free[3][step]["watch/motion"] for step in range(1, 7)]
    assert shown == pytest.approx([motions[step] for step in (0, 0, 2, 2, 4, 4)], rel=1e-6)
    assert {"watch/rerender", "watch/flicker"} <= free[3][1].keys()
    # Between the second look and the third.
    bar = (motions[2] + motions[4]) / 2 / free[1].bar.clips
    left, films, seen, _ = run(tmp_path / "held", original, stitched, bar)
    assert films.kept_step == 2 and same(left, seen[2]) and not same(left, free[0])
    for stop in (1, 3, 5):
        folder = tmp_path / f"killed-{stop}"
        run(folder, original, stitched, bar, stop)
        again, resumed, _, _ = run(folder, original, stitched, bar)
        assert same(again, left) and resumed.report() == films.report()


def test_the_motion_of_clips_is_that_of_films_of_the_same_length(original: ReconstructionModel) -> None:
    generator, render = tiny_generator(), renderer_for(CPU)
    clips = some_clips()
    measure, clips_motion = film_measures(generator, lambda: original, render, clips, 5, 2)
    cut = torch.stack([clip.frames[:5] for clip in clips[1:]])
    assert clips_motion() == pytest.approx(float(film_figures(original, render, cut).motion.mean()))
    random = torch.Generator().manual_seed(2)
    latents = [torch.randn(1, *generator.latent_grid(5, 16, 16), generator=random).double() for _ in range(2)]
    found = film_figures(original, render, torch.cat([generator.decode(raw) for raw in latents]))
    assert found.rerender is not None and found.flicker is not None
    expected = {"rerender": found.rerender, "motion": found.motion, "flicker": found.flicker}
    assert measure(latents) == pytest.approx({name: float(value.mean()) for name, value in expected.items()}, rel=1e-4)


def test_films_without_anything_to_compare_with_are_refused(stitched: StitchedDecoder, tmp_path: Path) -> None:
    generator: Any = tiny_generator()
    data = AlignData(PROMPTS, some_clips()[:1], generator.embed)

    def made(original: Any) -> None:
        watch_generator(
            generator, stitched, {}, data, SETTINGS, WatchConfig(films_every=1), path=tmp_path / "watch.json",
            pictures=lambda step, picture: None, original=original,
        )  # fmt: skip

    with pytest.raises(ValueError, match=r"align\.watch\.films_every: 1 needs a 3D network that looks; allowed: 0"):
        made(None)
    with pytest.raises(ValueError, match=r"align\.watch\.films_every: no curated clip has the 5 frames"):
        made(lambda: stitched.network)
