"""Alignment with and without Gaussians on tiny networks: what is decoded, what is logged, and that watching changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reconstruction_cases import build
from tiny_alignment import PROMPTS, RENDERED, decoder, scorer
from tiny_networks import tiny_generator, tiny_network

from vist3a.adapters.lora import add_lora
from vist3a.alignment.align import AlignData, AlignRun, align
from vist3a.alignment.align_settings import AlignSettings, WatchConfig
from vist3a.alignment.rewards.one_scorer import reward_from
from vist3a.alignment.rewards.weighted_sum import WeightedSum
from vist3a.alignment.watch import Watch, watch_generator
from vist3a.records import Clip
from vist3a.runtime.loop import LoopConfig
from vist3a.stitching.decoder import StitchedDecoder

CPU = torch.device("cpu")
GEOMETRY = {"reprojection": 1.0, "camera_smoothness": 0.1}


@pytest.fixture(scope="module")
def with_gaussians() -> StitchedDecoder:
    torch.manual_seed(0)
    return decoder(tiny_network())


@pytest.fixture(scope="module")
def without_gaussians() -> StitchedDecoder:
    torch.manual_seed(0)
    return decoder(build("vggt").requires_grad_(False))


SETTINGS = AlignSettings(
    seed=3, prompts_per_step=1, clips_per_step=1, denoising_steps=2, gradient_steps=1, guidance=1.5, scored_views=2,
    generative_weight=0.5, frames=5, height=16, width=16, term_gradients_every=2, loop=LoopConfig(3, 1e-2, ema=None),
)  # fmt: skip


def data_of(generator: Any) -> AlignData:
    frames = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    return AlignData(PROMPTS, [Clip("c", frames, PROMPTS[0])], generator.embed)


def trained(
    stitched: StitchedDecoder,
    reward: WeightedSum,
    watching: Callable[[Any], Watch | None] = lambda generator: None,
    steps: int = 3,
) -> tuple[dict[str, torch.Tensor], dict[int, Mapping[str, float]]]:
    """LoRA after training, and what was logged."""
    generator = tiny_generator()
    add_lora(generator.denoiser, 2, 4.0, ["to_q", "to_v"], seed=0)
    generator.denoiser.to(torch.float64)
    logged: dict[int, Mapping[str, float]] = {}
    settings = replace(SETTINGS, loop=LoopConfig(steps=steps, learning_rate=1e-2, warmup=0, log_every=1, ema=None))
    run = AlignRun(log=lambda step, scalars: logged.update({step: dict(scalars)}), watch=watching(generator))
    align(generator, stitched, reward, data_of(generator), settings, run)
    return {name: p.detach() for name, p in generator.denoiser.named_parameters() if p.requires_grad}, logged


def watch(
    generator: Any, stitched: StitchedDecoder, reward: WeightedSum, path: Path, pictures: Any, **every: int
) -> Watch:
    gaussians = stitched.network.has_gaussians
    judge = reward_from(scorer(9), {"text_decoded": 1.0} | ({"text_rendered": 1.0} if gaussians else {}))
    return watch_generator(
        generator, stitched, {"reward": reward, "judge": judge}, data_of(generator), SETTINGS,
        WatchConfig(**every, drift_window=4), path=path, pictures=pictures,
    )  # fmt: skip


def test_watching_changes_no_weight_and_logs_beside_the_reward(with_gaussians: StitchedDecoder, tmp_path: Path) -> None:
    reward = reward_from(scorer(1), RENDERED)
    shown: list[tuple[int, np.ndarray]] = []
    alone, _ = trained(with_gaussians, reward)
    watched, logged = trained(
        with_gaussians,
        reward,
        lambda generator: watch(
            generator,
            with_gaussians,
            reward,
            tmp_path / "watch.json",
            lambda step, picture: shown.append((step, picture)),
            judge_every=2,
            previews_every=2,
        ),
    )
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    assert {"watch/reward/total", "watch/judge/total", "watch/judge/text_rendered", "watch/drift"} <= logged[1].keys()
    assert {f"reward/{name}" for name in (*RENDERED, "total")} <= logged[1].keys()
    # Judged before steps 0 and 2; in between the last judgement stands.
    assert logged[2]["watch/judge/total"] == logged[1]["watch/judge/total"]
    assert logged[3]["watch/judge/total"] != logged[1]["watch/judge/total"]
    assert [step for step, _ in shown] == [0, 2]
    # Two prompts, decoded and rendered, four views of 16 px with gaps of 2.
    assert shown[0][1].shape == (4 * 18 - 2, 4 * 18 - 2, 3)
    assert shown[0][1].dtype == np.uint8


def test_the_norms_of_the_terms_gradients_are_logged(with_gaussians: StitchedDecoder) -> None:
    _, logged = trained(with_gaussians, reward_from(scorer(1), RENDERED | {"consistency_l1": 0.0}), steps=1)
    norms = {name: logged[1][f"reward_gradient/{name}"] for name in RENDERED}
    assert norms.pop("consistency_l1") == 0
    assert all(norm > 0 for norm in norms.values())
    # The triangle inequality, with guidance of the batch mean.
    assert logged[1]["reward_gradient_norm"] <= sum(norms.values()) * (1 + 1e-9)


def test_recomputed_blocks_give_the_same_norms(with_gaussians: StitchedDecoder) -> None:
    reward = reward_from(scorer(1), RENDERED)
    _, stored = trained(with_gaussians, reward, steps=1)
    with_gaussians.network.gradient_checkpointing = True
    try:
        _, recomputed = trained(with_gaussians, reward, steps=1)
    finally:
        with_gaussians.network.gradient_checkpointing = False
    for name in RENDERED:
        key = f"reward_gradient/{name}"
        assert recomputed[1][key] == pytest.approx(stored[1][key], rel=1e-9)


def test_a_resumed_watch_knows_what_was_seen(with_gaussians: StitchedDecoder, tmp_path: Path) -> None:
    reward, generator = reward_from(scorer(1), {"text_decoded": 1.0}), tiny_generator()
    arguments = (generator, with_gaussians, reward, tmp_path / "watch.json", lambda step, picture: None)
    first = watch(*arguments, judge_every=5)
    seen = {name: float(value) for name, value in first(0).items()}
    again = watch(*arguments, judge_every=5)
    assert {name: float(value) for name, value in again(3).items()} == seen
    assert watch(*arguments)(0).keys() == seen.keys()
    assert watch(generator, with_gaussians, reward, tmp_path / "none.json", arguments[-1])(0) == {}


def test_who_accompanies_a_watch_samples_when_it_does(tmp_path: Path) -> None:
    """Also where a resumed run knows some of the scores; scores, pictures and the file are the first process's alone."""
    path, pictures = tmp_path / "watch.json", [torch.zeros(1, 4, 3, 16, 16)]
    path.write_text(json.dumps({"2": {"watch/reward/total": 0.0, "watch/judge/total": 0.0}}))
    steps: dict[str, list[int]] = {"first": [], "other": [], "scored": [], "shown": []}

    def watching(name: str) -> Watch:
        def sample() -> list[torch.Tensor]:
            steps[name].append(step)
            return []

        def score(latents: list[torch.Tensor], judged: bool) -> tuple[dict[str, list[float]], list[torch.Tensor]]:
            steps["scored"].append(step)
            return {"reward/total": [0.0], "judge/total": [0.0]}, pictures

        return Watch(sample, score, WatchConfig(2, 3), path, lambda step, picture: steps["shown"].append(step))

    first, other = watching("first"), watching("other")
    for step in range(7):
        other.accompany(step)
        first(step)
    assert steps == {"first": [0, 3, 4, 6], "other": [0, 3, 4, 6], "scored": [0, 3, 4, 6], "shown": [0, 3, 6]}


@pytest.mark.parametrize(
    ("judge_every", "previews_every", "scored", "shown"),
    [(1, 0, [0, 1, 2, 3], []), (0, 1, [0, 1, 2, 3], [0, 1, 2, 3]), (0, 0, [], []), (3, 2, [0, 2, 3], [0, 2])],
)
def test_a_watch_looks_as_often_as_it_is_told(
    tmp_path: Path, judge_every: int, previews_every: int, scored: list[int], shown: list[int]
) -> None:
    """Every step, now and then, or never."""
    seen: list[int] = []
    looks: list[tuple[int, bool]] = []

    def score(latents: list[torch.Tensor], judged: bool) -> tuple[dict[str, list[float]], list[torch.Tensor]]:
        looks.append((step, judged))
        return ({"reward/total": [0.0], "judge/total": [0.0]} if judged else {}), [torch.zeros(1, 4, 3, 16, 16)]

    config = WatchConfig(judge_every=judge_every, previews_every=previews_every)
    watching = Watch(list, score, config, tmp_path / "watch.json", lambda step, picture: seen.append(step))
    for step in range(4):
        watching(step)
    assert [step for step, _ in looks] == scored and seen == shown
    assert [step for step, judged in looks if judged] == ([] if not judge_every else list(range(0, 4, judge_every)))


def test_drifting_scores_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A planted generator: every look finds a better reward and a worse judge."""
    looks = iter(range(9))

    def score(latents: list[torch.Tensor], judged: bool) -> tuple[dict[str, list[float]], list[torch.Tensor]]:
        look = next(looks)
        return {"reward/total": [look, look + 1.0], "judge/total": [-look, -look]}, []

    config = WatchConfig(judge_every=10, drift_window=4)
    watching = Watch(list, score, config, tmp_path / "watch.json", lambda step, picture: None)
    with caplog.at_level(logging.WARNING, "vist3a"):
        drift = [float(watching(step)["watch/drift"]) for step in range(0, 60, 5)]
    assert drift == [0.0] * 6 + [1.0] * 6
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_pointmaps_are_aligned_without_decoding_a_frame(
    without_gaussians: StitchedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vist3a.generators.wan import WanGenerator

    def never(*_: object) -> None:
        raise AssertionError("the video decoder was run")

    monkeypatch.setattr(WanGenerator, "decode", never)
    reward = reward_from(scorer(1), GEOMETRY)
    weights, logged = trained(without_gaussians, reward)
    assert {f"reward/{name}" for name in GEOMETRY} <= logged[1].keys()
    assert logged[1]["reward_gradient_norm"] > 0
    assert all(bool(value.isfinite().all()) for value in weights.values())


def test_pointmaps_are_watched_by_their_frames(without_gaussians: StitchedDecoder, tmp_path: Path) -> None:
    shown: list[np.ndarray] = []
    _, logged = trained(
        without_gaussians,
        reward_from(scorer(1), GEOMETRY),
        lambda generator: watch(
            generator,
            without_gaussians,
            reward_from(scorer(1), GEOMETRY),
            tmp_path / "watch.json",
            lambda step, picture: shown.append(picture),
            judge_every=2,
            previews_every=2,
        ),
        steps=1,
    )
    assert logged[1]["watch/judge/total"] == logged[1]["watch/judge/text_decoded"]
    assert shown[0].shape == (2 * 18 - 2, 4 * 18 - 2, 3)


def test_renderings_of_pointmaps_are_refused(without_gaussians: StitchedDecoder) -> None:
    with pytest.raises(
        ValueError, match="reward terms on renderings need a reconstruction network with a Gaussian head"
    ):
        trained(without_gaussians, reward_from(scorer(1), RENDERED))
