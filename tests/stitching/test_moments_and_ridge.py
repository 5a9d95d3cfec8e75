"""The streaming closed-form fit against float64 least squares on materialised rows."""

from __future__ import annotations

from functools import reduce
from operator import add

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vist3a.records import StitchPoint, TokenState
from vist3a.stitching.grids import StitchSpec, derive_spec, patches
from vist3a.stitching.heldout import linear_cka
from vist3a.stitching.layer import StitchLayer, standardise
from vist3a.stitching.moments import Moments, moments_of
from vist3a.stitching.ridge import RidgePath, mean_squared_error, r_squared
from vist3a.stitching.search import as_layer
from vist3a.stitching.tap import TapSettings

POINT = "block"


LAYERS = (
    # kernel, stride, padding, tokens
    ((1, 1, 1), None, None, (4, 4)),
    ((3, 3, 3), None, None, (4, 4)),
    ((3, 3, 3), None, None, (2, 2)),
    ((3, 3, 3), None, None, (3, 4)),
    ((3, 1, 3), (1, 1, 1), (1, 0, 0), (4, 2)),
    ((1, 2, 2), (1, 2, 2), (0, 0, 0), (2, 2)),
    ((3, 3, 3), (2, 1, 1), (0, 1, 1), (4, 4)),
)


def make_data(spec: StitchSpec, clips: int, seed: int, width: int = 6, noise: float = 0.3):
    """Latents and activations of ``clips`` clips; activations are partly linear in the patches, with a constant per position."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(clips, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    x = patches(latents, spec)
    true = (
        torch.randn(x.shape[-1], width, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
        / x.shape[-1] ** 0.5
    )
    constant = torch.randn(*x.shape[2:4], width, generator=torch.Generator().manual_seed(98))
    y = (x @ true + constant + noise * torch.randn(*x.shape[:-1], width, generator=generator)).float()
    special = torch.randn(clips, x.shape[1], 2, width, generator=generator)
    return latents, y, special


def moments_in_shards(latents, y, special, spec, shards: int, batch: int = 100, chunk_bytes: int = 1 << 30) -> Moments:
    parts = []
    for shard in torch.arange(len(latents)).chunk(shards):
        for index in shard.split(batch):
            state = TokenState(POINT, y[index], special[index])
            parts.append(moments_of(patches(latents[index], spec), {POINT: state}, chunk_bytes))
    return reduce(add, parts)


def design_matrix(x: torch.Tensor, bias: str) -> torch.Tensor:
    """Float64 rows with explicit intercept columns (one, or one per position)."""
    batch, views, rows, columns, features = x.shape
    flat = x.double().reshape(-1, features)
    if bias == "channel":
        ones = torch.ones(len(flat), 1, dtype=torch.float64)
    else:
        position = torch.arange(rows * columns).repeat(batch * views)
        ones = torch.nn.functional.one_hot(position, rows * columns).double()
    return torch.cat([flat, ones], dim=1)


@settings(max_examples=25, deadline=None)
@given(
    layer=st.sampled_from(LAYERS),
    mode=st.sampled_from(["zeros", "replicate"]),
    interpolation=st.sampled_from(["corners", "centres", "nearest"]),
    shards=st.sampled_from([1, 3]),
    batch=st.integers(1, 7),
    bias=st.sampled_from(["channel", "position"]),
    seed=st.integers(0, 1000),
)
def test_equals_least_squares(layer, mode, interpolation, shards, batch, bias, seed) -> None:
    kernel, stride, padding, tokens = layer
    spec = derive_spec(
        (4, 4), tokens, 4, kernel, mode, stride=stride, padding=padding, interpolation=interpolation
    )  # fmt: skip
    latents, y, special = make_data(spec, 14, seed)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(seed))
    moments = moments_in_shards(latents[order], y[order], special[order], spec, shards, batch)
    solution = RidgePath(moments, bias).solve(POINT, 0.0)
    matrix = design_matrix(patches(latents, spec), bias)
    target = y.double().reshape(-1, y.shape[-1])
    expected = torch.linalg.lstsq(matrix, target, driver="gelsd").solution
    residual = target - matrix @ expected
    features = solution.weight.shape[0]
    unique = torch.linalg.matrix_rank(matrix) == matrix.shape[1]
    if unique:
        torch.testing.assert_close(solution.weight, expected[:features], rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(solution.bias, expected[features:].expand_as(solution.bias), rtol=1e-8, atol=1e-9)
    mse = float(residual.square().mean())
    assert mean_squared_error(moments, POINT, solution) == pytest.approx(mse, rel=1e-8)
    mean = target.mean(0)
    total = float((target - mean).square().sum())
    assert r_squared(moments, POINT, solution, mean) == pytest.approx(
        1 - float(residual.square().sum()) / total, rel=1e-8
    )
    if unique:  # on clips that were not fitted
        latents, y, special = make_data(spec, 5, seed + 5000)
        unseen = moments_in_shards(latents, y, special, spec, 2)
        target = y.double().reshape(-1, y.shape[-1])
        error = (target - design_matrix(patches(latents, spec), bias) @ expected).square().sum()
        r2 = 1 - float(error / (target - mean).square().sum())
        assert r_squared(unseen, POINT, solution, mean) == pytest.approx(r2, rel=1e-8, abs=1e-8)


def test_products_are_the_same_in_any_chunks() -> None:
    spec = derive_spec((4, 4), (4, 4), 4, (3, 3, 3))
    latents, y, special = make_data(spec, 3, 4)
    states = {str(i): TokenState(str(i), i * y[..., i:], special[..., i:]) for i in range(4)}
    whole = moments_of(patches(latents, spec), states)
    row = 8 * y.shape[:4].numel() * y.shape[-1]
    for room in (1, row, 2 * row, 3 * row + 8):
        parts = moments_of(patches(latents, spec), states, room)
        alone = moments_of(patches(latents, spec), {"2": states["2"]})
        torch.testing.assert_close(parts.points["2"].cross, alone.points["2"].cross, rtol=1e-12, atol=1e-12)
        for key, value in whole.state().items():
            torch.testing.assert_close(parts.state()[key], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", ["channel", "position"])
def test_ridge_is_relative_and_leaves_the_intercept_free(bias: str) -> None:
    spec = derive_spec((4, 4), (4, 4), 4, (3, 3, 3))
    latents, y, special = make_data(spec, 8, 3)
    moments = moments_in_shards(latents, y + 100.0, special, spec, 1)
    ridge = 0.1
    solution = RidgePath(moments, bias).solve(POINT, ridge)
    x = patches(latents, spec).double().flatten(0, 1).flatten(1, 2)
    target = (y + 100.0).double().flatten(0, 1).flatten(1, 2)
    axes = (0, 1) if bias == "channel" else (0,)
    dx, dy = x - x.mean(axes, keepdim=True), target - target.mean(axes, keepdim=True)
    dx, dy = dx.flatten(0, 1), dy.flatten(0, 1)
    gram = dx.T @ dx
    expected = torch.linalg.solve(
        gram + ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64), dx.T @ dy
    )
    torch.testing.assert_close(solution.weight, expected, rtol=1e-8, atol=1e-10)
    doubled = moments + moments
    torch.testing.assert_close(RidgePath(doubled, bias).solve(POINT, ridge).weight, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("bias", ["channel", "position"])
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("normalised", [False, True])
def test_the_layer_has_exactly_the_predicted_error(bias: str, mode: str, layer, normalised: bool) -> None:
    kernel, stride, padding, tokens = layer
    spec = derive_spec((4, 4), tokens, 4, kernel, mode, stride=stride, padding=padding)
    statistics = torch.tensor([[0.5, -1.0, 2.0], [0.3, 2.0, 1.5]], dtype=torch.float64) if normalised else None
    latents, y, special = make_data(spec, 8, 5)
    moments = moments_in_shards(standardise(latents.double(), statistics), y, special, spec, 2)
    heldout_latents, heldout_y, heldout_special = make_data(spec, 5, 6)
    seen = standardise(heldout_latents.double(), statistics)
    heldout = moments_in_shards(seen, heldout_y, heldout_special, spec, 1)
    solution = RidgePath(moments, bias).solve(POINT, 1e-3)
    fit = as_layer(moments, POINT, solution, tap_settings(spec, tokens), 1e-3, bias, statistics, torch.float64)
    output = StitchLayer(spec, fit).double()(heldout_latents.double()).detach()
    measured = float((output - heldout_y.double()).square().mean())
    assert mean_squared_error(heldout, POINT, solution) == pytest.approx(measured, rel=1e-10)
    stored = as_layer(moments, POINT, solution, tap_settings(spec, tokens), 1e-3, bias, statistics)
    output = StitchLayer(spec, stored)(heldout_latents.float()).detach()
    assert float((output - heldout_y).square().mean()) == pytest.approx(measured, rel=1e-4)


def tap_settings(spec: StitchSpec, tokens: tuple[int, int], names: tuple[str, ...] = (POINT,)) -> TapSettings:
    points = tuple(StitchPoint(name, "encoder", 6, 2, True) for name in names)
    return TapSettings(points, tokens, spec)


def test_special_tokens_are_means_by_role() -> None:
    spec = derive_spec((4, 4), (4, 4), 4, (1, 1, 1))
    latents, y, special = make_data(spec, 4, 7)
    moments = moments_in_shards(latents, y, special, spec, 3)
    solution = RidgePath(moments, "channel").solve(POINT, 0.0)
    fit = as_layer(moments, POINT, solution, tap_settings(spec, (4, 4)), 0.0, "channel")
    torch.testing.assert_close(fit.special_tokens[0], special[:, 0].mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fit.special_tokens[1], special[:, 1:].mean((0, 1)), rtol=1e-5, atol=1e-6)


def test_moments_survive_storage_and_refuse_strangers() -> None:
    spec = derive_spec((4, 4), (4, 4), 4, (1, 1, 1))
    latents, y, special = make_data(spec, 3, 8)
    moments = moments_in_shards(latents, y, special, spec, 1)
    again = Moments.from_state(moments.state())
    assert again.state().keys() == moments.state().keys()
    assert all(torch.equal(again.state()[k], v) for k, v in moments.state().items())
    other = moments_of(patches(latents, spec), {"other": TokenState("other", y, special)})
    with pytest.raises(ValueError, match="different stitch points"):
        _ = moments + other


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_shares_do_not_depend_on_the_unit_of_the_activations(unit: float) -> None:
    """R^2 and the alignment of both spaces are shares: small activations are explained as well as large ones."""
    spec = derive_spec((4, 4), (4, 4), 4, (3, 3, 3))
    latents, y, special = make_data(spec, 8, 9)
    y = (unit * y.double()).float()
    moments = moments_in_shards(latents, y, special, spec, 1)
    solution = RidgePath(moments, "channel").solve(POINT, 0.1)
    rows, target = patches(latents, spec).double().flatten(0, 3), y.double().flatten(0, 3)
    residual = target - rows @ solution.weight - solution.bias[0]
    mean = target.mean(0)
    r2 = 1 - float(residual.square().sum() / (target - mean).square().sum())
    assert r_squared(moments, POINT, solution, mean) == pytest.approx(r2, abs=1e-9)
    assert mean_squared_error(moments, POINT, solution) == pytest.approx(float(residual.square().mean()), rel=1e-8)
    # By the cross-covariance of centred rows, and by singular values: two ways to one number.
    rows, target = rows - rows.mean(0), target - mean
    shares = torch.linalg.svdvals(rows.T @ target).square().sum()
    norms = torch.linalg.svdvals(rows).pow(4).sum().sqrt() * torch.linalg.svdvals(target).pow(4).sum().sqrt()
    outer = y.double().flatten(0, 3).T @ y.double().flatten(0, 3)
    assert linear_cka(moments, POINT, outer) == pytest.approx(float(shares / norms), rel=1e-8)


def test_constant_activations_are_aligned_with_nothing() -> None:
    spec = derive_spec((4, 4), (4, 4), 4, (1, 1, 1))
    latents, y, special = make_data(spec, 3, 10)
    zero = torch.zeros_like(y)
    moments = moments_in_shards(latents, zero, special, spec, 1)
    assert linear_cka(moments, POINT, torch.zeros(6, 6, dtype=torch.float64)) == 0


def test_an_exact_fit_has_no_error() -> None:
    """Rounding may take the expanded square below zero, and R^2 above one."""
    spec = derive_spec((4, 4), (4, 4), 4, (1, 1, 1))
    for seed in range(8):
        latents, y, special = make_data(spec, 6, seed, noise=0.0)
        constant = torch.full_like(y, 1000.0) + y.mean((0, 1, 2, 3))
        moments = moments_in_shards(latents, constant, special, spec, 1)
        solution = RidgePath(moments, "channel").solve(POINT, 0.0)
        assert 0 <= mean_squared_error(moments, POINT, solution) < 1e-6
