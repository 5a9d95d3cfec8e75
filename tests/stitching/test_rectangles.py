"""Grids that are not square, kernels that differ by axis, clips of different lengths: against loops over single elements."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from stitching.test_extract import SIZE, frames
from stitching.test_moments_and_ridge import POINT, make_data, moments_in_shards, tap_settings
from stitching.test_selection import score
from tiny_networks import tiny_generator, tiny_network

from vist3a.data.clip_batches import ClipBatch
from vist3a.records import StitchFit, TokenRoles, TokenState
from vist3a.stitching import extract
from vist3a.stitching.grids import StitchSpec, derive_spec, patches, resample_and_pad
from vist3a.stitching.heldout import Candidate, HeldOut, PointErrors, _Sums, measure
from vist3a.stitching.layer import StitchLayer
from vist3a.stitching.moments import Moments, activation_chunks, moments_of
from vist3a.stitching.noise import noise_gram
from vist3a.stitching.ridge import LinearMap, RidgePath
from vist3a.stitching.search import as_layer, choose, lead, r2_difference, score_points, solve_points
from vist3a.stitching.tap import Tap

CPU = torch.device("cpu")
SPECS = (
    # No two axes alike: kernel, stride, padding, resampled rows and columns.
    StitchSpec((3, 1, 2), (1, 2, 3), (1, 0, 1), "zeros", 6, 10, 2),
    StitchSpec((2, 3, 5), (1, 1, 2), (0, 1, 2), "replicate", 4, 8, 4),
    StitchSpec((3, 3, 1), (2, 3, 1), (0, 0, 0), "zeros", 6, 5, 2),
    StitchSpec((1, 2, 3), (1, 2, 1), (0, 0, 1), "replicate", 4, 6, 1),
)
LATENTS = torch.randn(2, 3, 3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def along(values: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Linear interpolation with aligned ends, one line at a time."""
    have = values.shape[axis]
    places = np.linspace(0, have - 1, size) if size > 1 else np.zeros(1)
    return np.apply_along_axis(lambda line: np.interp(places, np.arange(have), line), axis, values)


@pytest.mark.parametrize("spec", SPECS)
def test_patches_are_the_cells_under_the_kernel_channel_by_channel(spec: StitchSpec) -> None:
    batch, channels, times, _, _ = LATENTS.shape
    views = (times - 1) * spec.temporal_stride + 1
    assert spec.views(times) == views
    wanted = (
        spec.stride[0] * (views - 1) + spec.kernel[0] - 2 * spec.padding[0], spec.resampled_rows, spec.resampled_columns,
    )  # fmt: skip
    assert spec.resampled_times(times) == wanted[0]
    cells = LATENTS.numpy()
    for axis, size in enumerate(wanted):
        cells = along(cells, 2 + axis, size)
    found = patches(LATENTS, spec)
    outputs = [
        (n + 2 * p - k) // s + 1 for n, p, k, s in zip(wanted, spec.padding, spec.kernel, spec.stride, strict=True)
    ]
    assert found.shape == (batch, *outputs, channels * math.prod(spec.kernel)) and outputs[0] == views
    for b in range(batch):
        for place in np.ndindex(*outputs):
            expected = []
            for c in range(channels):
                for inside in np.ndindex(*spec.kernel):
                    at = [s * o + k - p for s, o, k, p in zip(spec.stride, place, inside, spec.padding, strict=True)]
                    beyond = any(not 0 <= a < n for a, n in zip(at, wanted, strict=True))
                    nearest = tuple(min(max(a, 0), n - 1) for a, n in zip(at, wanted, strict=True))
                    expected.append(0.0 if beyond and spec.padding_mode == "zeros" else cells[(b, c, *nearest)])
            np.testing.assert_allclose(found[(b, *place)], expected, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("biased", [False, True])
def test_a_layer_computes_just_the_views_it_is_asked_for(spec: StitchSpec, biased: bool) -> None:
    width, grid = 5, patches(LATENTS, spec).shape[2:4]
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(width, 3, *spec.kernel, generator=random, dtype=torch.float64)
    bias = torch.randn(width, generator=random, dtype=torch.float64)
    per_position = torch.randn(*grid, width, generator=random, dtype=torch.float64) if biased else None
    statistics = torch.tensor([[0.3, -0.2, 1.0], [2.0, 0.5, 1.5]], dtype=torch.float64)
    layer = StitchLayer(spec, StitchFit("p", weight, bias, per_position, torch.zeros(2, 0, width), 0.0, statistics))
    whole = layer(LATENTS)
    shown = (LATENTS - statistics[0].view(3, 1, 1, 1)) / statistics[1].view(3, 1, 1, 1)
    expected = patches(shown, spec) @ weight.flatten(1).T + (bias if per_position is None else per_position)
    torch.testing.assert_close(whole, expected)
    for views in ([0], [2, 0], [1, 2]):
        torch.testing.assert_close(layer(LATENTS, torch.tensor(views)), whole[:, views])


@pytest.mark.parametrize("spec", SPECS)
def test_noise_adds_what_many_draws_of_it_add(spec: StitchSpec) -> None:
    """Exactly: an impulse in each cell, one after the other, through the patches themselves."""
    variances = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    total = torch.zeros(3 * math.prod(spec.kernel), 3 * math.prod(spec.kernel), dtype=torch.float64)
    for cell in np.ndindex(3, 3, 4, 6):
        impulse = torch.zeros(1, 3, 3, 4, 6, dtype=torch.float64)
        impulse[(0, *cell)] = 1
        rows = patches(impulse, spec).flatten(0, 3)
        total += variances[cell[0]] * rows.T @ rows
    torch.testing.assert_close(noise_gram(spec, (3, 4, 6), variances), total)


def test_each_axis_has_a_ratio_a_stride_and_a_padding_of_its_own() -> None:
    spec = derive_spec((12, 20), (6, 5), 2, (3, 5, 4), "zeros", interpolation="nearest")
    assert (spec.kernel, spec.stride, spec.padding) == ((3, 5, 4), (1, 2, 4), (1, 2, 0))
    assert (spec.resampled_rows, spec.resampled_columns, spec.temporal_stride) == (12, 20, 2)
    assert (spec.padding_mode, spec.interpolation) == ("zeros", "nearest")
    # Fewer cells than tokens: a stride of one, and cells are made.
    spec = derive_spec((4, 5), (8, 10), 4, (1, 3, 3))
    assert (spec.stride, spec.resampled_rows, spec.resampled_columns) == ((1, 1, 1), 8, 10)
    # What is given is kept, by axis.
    spec = derive_spec((12, 20), (5, 9), 4, (3, 3, 3), stride=(2, 3, 2), padding=(0, 2, 1))
    assert (spec.stride, spec.padding) == ((2, 3, 2), (0, 2, 1))
    assert (spec.resampled_rows, spec.resampled_columns) == (12, 18)
    assert spec.resampled_times(2) == 2 * 4 + 3 and derive_spec((4, 4), (4, 4), 4).padding == (2, 1, 1)
    # The border of what is allowed: under every kernel one cell at least, in time as in the picture.
    assert derive_spec((8, 8), (8, 8), 4, (3, 3, 3), padding=(1, 1, 1)).resampled_times(1) == 1
    for padding in ((2, 1, 1), (1, 1, 5)):
        with pytest.raises(ValueError, match="nothing but padding is left"):
            derive_spec((8, 8), (8, 8), 4, (3, 3, 3), padding=padding)


def test_latents_that_fit_are_not_touched() -> None:
    spec = StitchSpec((1, 1, 1), (1, 1, 1), (0, 0, 0), "zeros", 4, 6, 1)
    assert torch.equal(resample_and_pad(LATENTS, spec), LATENTS)
    for rows, columns in ((4, 5), (3, 6)):
        shape = resample_and_pad(LATENTS, replace(spec, resampled_rows=rows, resampled_columns=columns)).shape
        assert shape == (2, 3, 3, rows, columns)


def states_of(shape: tuple[int, ...], widths: dict[str, int], seed: int = 0) -> dict[str, TokenState]:
    random = torch.Generator().manual_seed(seed)
    return {
        name: TokenState(
            name, torch.randn(*shape, width, generator=random), torch.randn(*shape[:2], 2, width, generator=random)
        )
        for name, width in widths.items()
    }


@pytest.mark.parametrize("axis", range(4))
def test_tokens_that_do_not_meet_the_patches_are_refused(axis: int) -> None:
    shape = [2, 3, 4, 5]
    states = states_of((2, 3, 4, 5), {"a": 3})
    shape[axis] += 1
    with pytest.raises(ValueError, match=r"stitch point a: \(3, 4, 5\) tokens \(views, rows, columns\), but"):
        list(activation_chunks(torch.zeros(*shape, 2), states))
    ((names, y),) = activation_chunks(torch.zeros(2, 3, 4, 5, 2), states)
    assert names == ["a"] and torch.equal(y, states["a"].patch_tokens.flatten(0, 3).double())


def test_chunks_hold_as_many_columns_as_there_is_room_for() -> None:
    states, x = states_of((2, 3, 4, 5), {"a": 2, "b": 3, "c": 4, "d": 1}), torch.zeros(2, 3, 4, 5, 2)
    row = 8 * 2 * 3 * 4 * 5
    for columns, expected in (
        (1, ["a", "b", "c", "d"]), (4, ["a", "b", "c", "d"]), (5, ["ab", "cd"]), (8, ["ab", "cd"]), (9, ["abc", "d"]),
        (10, ["abcd"]),
    ):  # fmt: skip
        found = list(activation_chunks(x, states, columns * row))
        assert ["".join(names) for names, _ in found] == expected
        joined = torch.cat([y for _, y in found], 1)
        whole = torch.cat([state.patch_tokens for state in states.values()], -1).flatten(0, 3)
        assert torch.equal(joined, whole.double())


def test_moments_are_sums_over_single_rows() -> None:
    """Of two clips, three views, 2 x 3 positions; special tokens by roles of which one has views apart and one has none."""
    x = torch.randn(2, 3, 2, 3, 4, generator=torch.Generator().manual_seed(5))
    states = states_of((2, 3, 2, 3), {"a": 2, "b": 3})

    def middle(views: torch.Tensor) -> torch.Tensor:
        return (views == 1).long()

    class Roles(TokenRoles):
        def of(self, views: torch.Tensor) -> torch.Tensor:
            return middle(views)

    roles = Roles(("around", "middle", "nobody"))
    noise = torch.eye(4, dtype=torch.float64)
    found = moments_of(x, states, roles=roles, noise=noise)
    assert found.count.tolist() == [6.0] * 6 and found.special_count.tolist() == [4.0, 2.0, 0.0]
    assert found.noise is noise
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(found.sum_x[3 * row + column], x[:, :, row, column].double().sum((0, 1)))
    flat = x.double().flatten(0, 3)
    torch.testing.assert_close(found.gram, torch.einsum("ni,nj->ij", flat, flat))
    for name, state in states.items():
        y, point = state.patch_tokens.double(), found.points[name]
        torch.testing.assert_close(point.cross, torch.einsum("ni,nj->ij", flat, y.flatten(0, 3)))
        torch.testing.assert_close(point.square, y.square().sum((0, 1, 2, 3)))
        torch.testing.assert_close(point.sum_y, y.sum((0, 1)).flatten(0, 1))
        special = state.special_tokens.double()
        torch.testing.assert_close(point.special_sum[0], special[:, [0, 2]].sum((0, 1)))
        torch.testing.assert_close(point.special_sum[1], special[:, 1].sum(0))
        assert not point.special_sum[2].any()
    # A role without views has tokens of zero, and no NaN.
    settings = tap_settings(StitchSpec((1, 1, 4), (1, 1, 1), (0, 0, 0), "zeros", 2, 3, 1), (2, 3), ("a",))
    solution = LinearMap(torch.zeros(4, 2, dtype=torch.float64), torch.zeros(6, 2, dtype=torch.float64))
    special = as_layer(found, "a", solution, settings, 0.0, "channel").special_tokens
    assert not special[2].any()
    torch.testing.assert_close(special[1], states["a"].special_tokens[:, 1].mean(0))


def small_moments(noise: bool = True, points: tuple[str, ...] = ("a",), features: int = 4) -> Moments:
    x = torch.randn(2, 3, 2, 3, features, generator=torch.Generator().manual_seed(6))
    states = states_of((2, 3, 2, 3), dict.fromkeys(points, 2))
    return moments_of(x, states, noise=2 * torch.eye(features, dtype=torch.float64) if noise else None)


def test_moments_under_noise_have_its_share_squared_more() -> None:
    moments = small_moments()
    torch.testing.assert_close(moments.noisy(0.5).gram, moments.gram + 0.5 * torch.eye(4, dtype=torch.float64))
    assert moments.noisy(0.0) is moments and moments.noisy(0.5).points is moments.points
    with pytest.raises(ValueError, match=r"noise is -0\.1 of the latents' root mean square; at least 0"):
        moments.noisy(-0.1)
    unknown = small_moments(noise=False)
    assert unknown.noisy(0.0) is unknown
    with pytest.raises(ValueError, match="of a version that knew no noise"):
        unknown.noisy(0.1)
    torch.testing.assert_close((moments + moments).noise, 4 * torch.eye(4, dtype=torch.float64))
    assert (moments + unknown).noise is None and (unknown + moments).noise is None
    torch.testing.assert_close((moments + unknown).gram, 2 * moments.gram)
    for other in (small_moments(points=("a", "b")), small_moments(features=5)):
        with pytest.raises(ValueError, match="different stitch points or patch shapes cannot be added"):
            _ = moments + other
    moved = moments.to(torch.device("cpu"))
    assert all(torch.equal(moved.state()[key], value) for key, value in moments.state().items())
    assert moved.state().keys() == moments.state().keys()


@pytest.mark.parametrize("chunk_bytes", [1 << 30, 1])
def test_held_out_errors_of_clips_of_different_lengths_are_added_place_by_place(chunk_bytes: int) -> None:
    random = torch.Generator().manual_seed(7)
    bias = torch.randn(6, 2, generator=random, dtype=torch.float64)
    fit = LinearMap(torch.randn(4, 2, generator=random, dtype=torch.float64), bias)
    mean = torch.tensor([0.4, -0.3], dtype=torch.float64)
    sums = _Sums({"a": Candidate(fit, mean)}, chunk_bytes=chunk_bytes)
    places, scenes = torch.zeros(2, 3, 2, 3, dtype=torch.float64), []
    for views, clips in ((1, 2), (3, 1), (2, 3)):
        x = torch.randn(clips, views, 2, 3, 4, generator=random)
        states = states_of((clips, views, 2, 3), {"a": 2}, seed=views)
        sums.add(x, states)
        y = states["a"].patch_tokens.double()
        errors = (y - x.double() @ fit.weight - bias.view(2, 3, 2)).square().sum(-1)
        apart = (y - mean).square().sum(-1)
        for kind, values in enumerate((errors, apart)):
            places[kind, :views] += values.sum(0)
        scenes += [[float(errors[i].sum()), float(apart[i].sum())] for i in range(clips)]
    found = sums.finished(tuple("abcdef"))
    torch.testing.assert_close(found.points["a"].places, places)
    torch.testing.assert_close(found.points["a"].scenes.T, torch.tensor(scenes, dtype=torch.float64))
    assert found.names == tuple("abcdef") and found.moments.count.tolist() == [11.0] * 6


def test_scores_name_the_noise_that_layers_were_fitted_for() -> None:
    spec = derive_spec((4, 4), (3, 4), 4, (3, 3, 3))
    data = make_data(spec, 8, 1)
    moments = replace(moments_in_shards(*data, spec, 2), noise=torch.eye(81, dtype=torch.float64))
    settings = tap_settings(spec, (3, 4))
    solved = solve_points(moments.noisy(2.0), moments, settings, (1e-3,), "position")
    errors = PointErrors(torch.rand(2, 4).double() + 1, torch.rand(2, 5, 3, 4).double(), 0.5)
    heldout = HeldOut(tuple("abcd"), moments, {POINT: errors})
    (clean,) = score_points(solved, heldout, settings, seed=0)
    (noisy,) = score_points(solved, heldout, settings, seed=0, noise=2.0)
    assert clean.r2_noisy is None and noisy.r2_noisy is not None
    own = solved[POINT].candidate
    # By its definition: under noise the expected error grows by the noise that passes the layer.
    passed = 4.0 * float((own.solution.weight.T @ moments.noise @ own.solution.weight).trace())  # type: ignore[union-attr]
    y = data[1].double()
    error = (
        (patches(data[0], spec).double() @ own.solution.weight + own.solution.bias.view(3, 4, -1) - y).square().sum()
    )
    whole = float((y - own.mean).square().sum())
    assert noisy.r2_noisy == pytest.approx(1 - (float(error) + passed) / whole, rel=1e-8)
    assert "under the noise of the fit" in choose([noisy])[1] and "noise" not in choose([clean])[1]
    better = replace(noisy, point="other", r2_heldout=noisy.r2_heldout - 1, r2_noisy=noisy.r2_noisy + 0.1)
    assert choose([noisy, better])[0].point == "other"
    rim = torch.ones(3, 4, dtype=torch.bool)
    rim[1, 1:3] = False
    for found, places in ((clean.r2_border, rim), (clean.r2_centre, ~rim)):
        one, other = errors.places[:, :, places].sum((1, 2)).tolist()
        assert found == pytest.approx(1 - one / other)


def test_the_lead_is_over_the_best_of_the_others_on_the_same_scenes() -> None:
    random = torch.Generator().manual_seed(3)
    whole = 2 + torch.rand(12, generator=random).double()
    points = {
        name: PointErrors(
            torch.stack([share * torch.rand(12, generator=random).double(), whole]), torch.zeros(2, 1, 1, 1), 0.0
        )
        for name, share in (("a", 0.2), ("b", 1.5), ("c", 0.6))
    }
    still = PointErrors(torch.zeros(2, 12).double(), torch.zeros(2, 1, 1, 1), 0.0)
    heldout = HeldOut(tuple("abcdefghijkl"), small_moments(), {**points, "still": still})
    found = lead(heldout, "a", ["a", "b", "c", "still"], seed=5)
    assert found is not None and found["over"] == "c"
    shares = {name: 1 - float(p.scenes[0].sum() / p.scenes[1].sum()) for name, p in points.items()}
    assert found["r2"] == pytest.approx(shares["a"] - shares["c"])
    drawn = np.random.default_rng(5).integers(0, 12, (2000, 12))
    apart = [
        float(points["c"].scenes[0, row].sum() - points["a"].scenes[0, row].sum()) / float(whole[row].sum())
        for row in drawn
    ]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(apart, [0.025, 0.975])))
    # Constant activations explain nothing, and are no division by zero.
    assert r2_difference(still, points["a"], 5)["r2"] == pytest.approx(-shares["a"])
    alone = r2_difference(still, still, 5)
    assert alone == {"r2": 0.0, "low": 0.0, "high": 0.0}
    # Of equals the first in network order wins.
    assert choose([score("x", 0.5, True), score("y", 0.5, True)])[0].point == "x"


def test_settings_of_a_tap_reach_the_layer() -> None:
    config = extract.TapConfig(
        kernel=(1, 2, 2), stride=(1, 1, 1), padding=(0, 1, 1), padding_mode="zeros", interpolation="nearest",
        latents="sample", latent_space="normalised", seed=9, frames=5,
    )  # fmt: skip
    generator, network = tiny_generator(), tiny_network()
    found = extract.tap_settings(generator, network, network.stitch_points[:2], SIZE, config)
    spec = found.spec
    assert (spec.kernel, spec.stride, spec.padding) == ((1, 2, 2), (1, 1, 1), (0, 1, 1))
    assert (spec.padding_mode, spec.interpolation, spec.temporal_stride) == (
        "zeros",
        "nearest",
        generator.temporal_stride,
    )
    assert (found.sample_seed, found.normalised, found.frames) == (9, True, 5)
    assert found.names == [point.name for point in network.stitch_points[:2]]
    # A stride of one makes a token for every place, so cells are made until there are enough.
    assert found.token_grid == network.token_grid(*SIZE)
    wide = extract.tap_settings(generator, network, network.stitch_points[:1], (16, 32))
    rows, columns = network.token_grid(16, 32)
    assert wide.token_grid == (rows, columns) == (2, 4)
    assert (wide.sample_seed, wide.normalised, wide.frames) == (None, False, None)


def test_the_noise_of_a_batch_is_the_sum_of_its_clips_own_power() -> None:
    """Of single-precision latents, summed in double; normalised ones bear noise over their own deviations."""
    generator, network = tiny_generator(dtype=torch.float32), tiny_network(dtype=torch.float32)
    clips = frames(3, size=(16, 32))
    batch = ClipBatch(tuple(clips), torch.stack([*clips.values()]))
    for space in ("raw", "normalised"):
        config = extract.TapConfig(kernel=(3, 3, 1), latent_space=space)
        settings = extract.tap_settings(generator, network, network.stitch_points[:1], (16, 32), config)
        tap = Tap(generator, network, settings)
        rows = tap.rows(batch)
        with torch.no_grad():
            latents = generator.encode(batch.on(CPU)).double()
        variances = torch.ones(4, dtype=torch.float64)
        if space == "normalised":
            assert tap.latent_statistics is not None and tap.latent_statistics.dtype == torch.float64
            variances = 1 / tap.latent_statistics[1] ** 2
        power = sum(float(clip.square().mean()) for clip in latents)
        expected = power * noise_gram(settings.spec, (2, 2, 4), variances)
        torch.testing.assert_close(rows.noise, expected, rtol=1e-11, atol=0)
        assert rows.patches.dtype == torch.float32 and list(rows.states) == settings.names


def test_clips_that_are_higher_than_wide_are_tapped_and_measured() -> None:
    generator, network = tiny_generator(), tiny_network()
    size = (32, 16)
    settings = extract.tap_settings(
        generator, network, network.stitch_points[:1], size, extract.TapConfig(kernel=(3, 3, 3))
    )
    tap = Tap(generator, network, settings)
    source = frames(6, size=size) | frames(2, seed=1, views=9, size=size)
    moments = extract.accumulate(tap, list(source), source.__getitem__, batch=2)
    # Six clips of five views, two of nine.
    assert moments.count.tolist() == [6 * 5 + 2 * 9] * 8
    solved = solve_points(moments, moments, settings, (1e-3,), "position")
    name = settings.names[0]
    seen = measure(tap, {name: solved[name].candidate}, list(source), source.__getitem__, batch=3)
    assert seen.points[name].places.shape == (2, 9, 4, 2)
    torch.testing.assert_close(seen.points[name].places.sum((1, 2, 3)), seen.points[name].scenes.sum(1))
    path = RidgePath(moments, "position").solve(name, 1e-3)
    assert torch.equal(path.weight, solved[name].candidate.solution.weight)
