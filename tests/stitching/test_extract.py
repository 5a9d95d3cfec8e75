"""Extraction and score from frames to R^2, against least squares on materialised rows; planted truth, noise, batches, shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import PlantedNetwork
from tiny_networks import tiny_generator, tiny_network

from vist3a.data.clip_batches import ClipBatch
from vist3a.records import StitchPoint
from vist3a.stitching.extract import TapConfig, accumulate, tap_settings
from vist3a.stitching.heldout import measure
from vist3a.stitching.layer import StitchLayer
from vist3a.stitching.search import check_choice, choose, lead, score_points, solve_points
from vist3a.stitching.shards import add_shards, shards_of, write_shard
from vist3a.stitching.tap import Tap

SIZE = (16, 16)


def frames(count: int, seed: int = 0, views: int = 5, size: tuple[int, int] = SIZE) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"clip{seed}-{i}": torch.randint(0, 256, (views, 3, *size), generator=generator, dtype=torch.uint8)
        for i in range(count)
    }


def tiny_tap(points: tuple[str, ...] = ("encoder.00", "encoder.01", "aggregator.frame.00"), **options) -> Tap:
    generator, network = tiny_generator(), tiny_network()
    chosen = [point for point in network.stitch_points if point.name in points]
    generator.input_size = options.pop("generator_size", None)
    seed, normalised = options.pop("sample_seed", None), options.pop("normalised", False)
    config = TapConfig(
        **options,
        latents="mode" if seed is None else "sample",
        latent_space="normalised" if normalised else "raw",
        seed=seed or 0,
    )
    return Tap(generator, network, tap_settings(generator, network, chosen, SIZE, config))


def same(a, b, tolerance: float = 1e-10) -> None:
    for key, value in a.state().items():
        torch.testing.assert_close(b.state()[key], value, rtol=tolerance, atol=tolerance)


def test_frames_beyond_those_asked_for_are_not_seen() -> None:
    """Clips of nine frames of which five count are clips of five."""
    long = frames(3, views=9)
    cut = {name: clip[:5] for name, clip in long.items()}
    whole = accumulate(tiny_tap(kernel=(3, 3, 3)), list(cut), cut.__getitem__, batch=2)
    same(accumulate(tiny_tap(kernel=(3, 3, 3), frames=5), list(long), long.__getitem__, batch=2), whole)
    all_frames = accumulate(tiny_tap(kernel=(3, 3, 3)), list(long), long.__getitem__, batch=2)
    assert int(all_frames.count.sum()) > int(whole.count.sum())


@settings(max_examples=8, deadline=None)
@given(
    batch=st.integers(1, 5),
    shard=st.sampled_from([None, 1, 2, 4]),
    order=st.permutations(range(6)),
    latents=st.sampled_from([None, 3]),
    normalised=st.booleans(),
)
def test_moments_depend_on_neither_batch_shard_nor_order(batch, shard, order, latents, normalised) -> None:
    tap = tiny_tap(kernel=(3, 3, 3), sample_seed=latents, normalised=normalised)
    source = frames(5) | frames(1, seed=1, views=9)
    names = list(source)
    whole = accumulate(tap, names, source.__getitem__, batch=1)
    same(whole, accumulate(tap, [names[i] for i in order], source.__getitem__, batch=batch, shard=shard))


@pytest.mark.parametrize("bias", ["channel", "position"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": (3, 1, 1)},
        {"kernel": (1, 3, 3), "padding_mode": "zeros", "sample_seed": 1},
        {"kernel": (3, 3, 3), "generator_size": (32, 32), "normalised": True},
        {"kernel": (3, 3, 3), "generator_size": (24, 40), "interpolation": "nearest", "padding": (1, 0, 0)},
        {"kernel": (1, 2, 2), "generator_size": (32, 32), "sample_seed": 2, "normalised": True},
    ],
)
def test_layers_and_scores_equal_least_squares(bias: str, options: dict) -> None:
    """The whole way: augmented rows for the ridge, an intercept per channel or position, R^2 of clips that were not fitted."""
    tap, ridge = tiny_tap(**options), 1e-3
    fit, heldout = frames(9, 1), frames(4, 2)
    moments = accumulate(tap, list(fit), fit.__getitem__, batch=4, shard=3)
    solved = solve_points(moments, moments, tap.settings, (ridge,), bias, tap.latent_statistics)
    candidates = {name: found.candidate for name, found in solved.items()}
    seen = measure(tap, candidates, list(heldout), heldout.__getitem__, batch=3)
    scores = {score.point: score for score in score_points(solved, seen, tap.settings, seed=0)}
    x, tokens = tap(batch_of(fit))
    unseen_x, unseen = tap(batch_of(heldout))
    for name in tap.settings.names:
        y = tokens[name].patch_tokens
        weight, intercept = ridge_by_rows(x, y, ridge, bias)
        assert_same(candidates[name].solution.weight, weight)
        found = candidates[name].solution.bias.unflatten(0, y.shape[2:4])
        assert_same(found, intercept.expand_as(found))
        target = unseen[name].patch_tokens
        error = (target - unseen_x @ weight - intercept).square()
        deviation = (target - y.mean((0, 1, 2, 3))).square()
        score = scores[name]
        assert score.r2_heldout == pytest.approx(float(1 - error.sum() / deviation.sum()), rel=1e-8)
        assert score.mse_heldout == pytest.approx(float(error.mean()), rel=1e-8)
        frame = 1 - error.sum((0, 2, 3, 4)) / deviation.sum((0, 2, 3, 4))
        assert score.r2_frames == pytest.approx(frame.tolist(), rel=1e-8)
        assert (score.r2_border, score.r2_centre) == (pytest.approx(score.r2_heldout), None)  # 2 x 2 tokens: all rim
        assert score.cka == pytest.approx(cka_by_rows(unseen_x, target), rel=1e-8)
        if tap.settings.sample_seed is None:  # the layer on raw latents does what was predicted
            with torch.no_grad():
                latents = tap.generator.encode(batch_of(heldout).on(tap.device))
                output = StitchLayer(tap.settings.spec, solved[name].layer)(latents.float())
            assert float((output - target).square().mean()) == pytest.approx(score.mse_heldout, rel=1e-5)


def batch_of(source: dict[str, torch.Tensor]) -> ClipBatch:
    return ClipBatch(tuple(source), torch.stack([*source.values()]))


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert float((found - expected).norm() / expected.norm()) < 1e-8


def ridge_by_rows(x: torch.Tensor, y: torch.Tensor, ridge: float, bias: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Least squares with explicit intercept columns and one more row per feature for the penalty."""
    batch, views, rows, columns, features = x.shape
    places = torch.arange(rows * columns).repeat(batch * views)
    ones = torch.nn.functional.one_hot(places) if bias == "position" else torch.ones(len(places), 1)
    x, y, ones = x.reshape(-1, features).double(), y.reshape(-1, y.shape[-1]).double(), ones.double()
    centred = x - ones @ torch.linalg.lstsq(ones, x).solution
    penalty = (ridge * centred.square().sum(0).mean()).sqrt() * torch.eye(features, dtype=torch.float64)
    top = torch.cat([x, ones], 1)
    bottom = torch.cat([penalty, torch.zeros(features, ones.shape[1], dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(
        torch.cat([top, bottom]), torch.cat([y, torch.zeros(features, y.shape[1]).double()])
    ).solution
    intercept = solution[features:]
    return solution[:features], intercept.unflatten(0, (rows, columns)) if bias == "position" else intercept[0]


def cka_by_rows(x: torch.Tensor, y: torch.Tensor) -> float:
    """From the Gram matrices over rows, centred with a projection."""
    x, y = x.reshape(-1, x.shape[-1]).double(), y.reshape(-1, y.shape[-1]).double()
    centring = torch.eye(len(x), dtype=torch.float64) - 1 / len(x)
    k, m = (centring @ a @ a.T @ centring for a in (x, y))
    return float((k * m).sum() / (k.norm() * m.norm()))


def test_a_planted_block_is_found_and_noise_explains_nothing() -> None:
    generator = tiny_generator()
    settings_ = tap_settings(
        generator, tiny_network(), tiny_network().stitch_points[:1], SIZE, TapConfig(kernel=(3, 3, 3))
    )
    network = PlantedNetwork(generator, settings_.spec)
    tap = Tap(
        generator, network, tap_settings(generator, network, network.stitch_points, SIZE, TapConfig(kernel=(3, 3, 3)))
    )
    splits = {
        name: frames(count, seed) for name, count, seed in (("fit", 40, 1), ("selection", 10, 2), ("heldout", 12, 3))
    }
    fit, selection = (
        accumulate(tap, list(splits[name]), splits[name].__getitem__, batch=8) for name in ("fit", "selection")
    )
    solved = solve_points(fit, selection, tap.settings, (1e-12, 1e-4, 1e-2, 1.0, 100.0), "position")
    candidates = {name: found.candidate for name, found in solved.items()}
    heldout = measure(tap, candidates, list(splits["heldout"]), splits["heldout"].__getitem__, batch=5)
    noise, planted, both = score_points(solved, heldout, tap.settings, seed=0)
    assert planted.r2_heldout > 0.9999
    assert noise.r2_heldout <= 0
    assert 0.1 < both.r2_heldout < 0.9
    assert planted.r2_low <= planted.r2_heldout <= planted.r2_high
    assert both.r2_low < both.r2_heldout < both.r2_high
    scores = (noise, planted, both)
    assert choose(scores)[0].point == "planted"
    assert choose(scores, "both") == (both, "chosen by parameter score.point")
    ahead = lead(heldout, "planted", [score.point for score in scores], seed=0)
    assert ahead is not None
    assert ahead["over"] == "both"
    assert ahead["low"] < ahead["r2"] < ahead["high"]
    assert ahead["r2"] == pytest.approx(planted.r2_heldout - both.r2_heldout)
    assert lead(heldout, "planted", ["planted"], seed=0) is None


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_shards_made_in_any_order_add_up_to_one_pass(tmp_path: Path, order: list[int]) -> None:
    tap, source = tiny_tap(kernel=(3, 3, 3)), frames(7)
    shards = shards_of(list(source), 3, tmp_path)
    counted: list[int] = []
    for number in order:
        write_shard(tap, shards[number], source.__getitem__, batch=2, done=counted.append)
    assert sum(counted) == 7
    assert sorted(tmp_path.iterdir()) == [shard.file for shard in shards]
    whole = accumulate(tap, list(source), source.__getitem__, batch=2, shard=3).state()
    added = add_shards(shards, torch.device("cpu")).state()
    assert added.keys() == whole.keys()
    assert all(torch.equal(added[key], value) for key, value in whole.items())


def test_a_choice_that_is_impossible_is_refused() -> None:
    points = [
        replace(point, complete=point.name != "c") for point in (StitchPoint(n, "encoder", 4, 1, True) for n in "abc")
    ]
    check_choice(points)
    check_choice(points, "b")
    with pytest.raises(ValueError, match=r"score\.point='d': no such candidate; allowed: a, b, c"):
        check_choice(points, "d")
    with pytest.raises(ValueError, match=r"score\.point='c': heads read features from before .* allowed: a, b$"):
        check_choice(points, "c")
    with pytest.raises(ValueError, match=r"no candidate point is a complete entry \(see extract\.kinds\)"):
        check_choice(points[2:])


def test_empty_splits_and_no_points_are_named() -> None:
    tap = tiny_tap()
    with pytest.raises(ValueError, match=r"no clip to extract from.*curate\.splits"):
        accumulate(tap, [], frames(1).__getitem__, batch=1)
    with pytest.raises(ValueError, match=r"no clip to extract from.*curate\.splits"):
        shards_of([], 3, Path())
    with pytest.raises(ValueError, match=r"split heldout is empty \(see curate\.splits\)"):
        measure(tap, {}, [], frames(1).__getitem__, batch=1)
    with pytest.raises(ValueError, match=r"see extract\.kinds"):
        tap_settings(tap.generator, tap.network, [], SIZE)
