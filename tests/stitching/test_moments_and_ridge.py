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
from vist3a.stitching.layer import StitchLayer
from vist3a.stitching.moments import Moments, moments_of
from vist3a.stitching.ridge import RidgePath, mean_squared_error, r_squared
from vist3a.stitching.search import as_layer, choose, score_points

POINT = "block"


def make_data(spec: StitchSpec, clips: int, seed: int, width: int = 6, noise: float = 0.3):
    """Latents and activations of ``clips`` clips; activations are partly linear in the patches, with a constant per position."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = spec.resampled_rows // spec.stride[1], spec.resampled_columns // spec.stride[2]
    latents = torch.randn(clips, 3, 2, 4, 4, generator=generator)
    x = patches(latents, spec)
    assert x.shape[2:4] == (rows, columns)
    true = torch.randn(x.shape[-1], width, generator=torch.Generator().manual_seed(99)) / x.shape[-1] ** 0.5
    constant = torch.randn(rows, columns, width, generator=torch.Generator().manual_seed(98))
    y = x @ true + constant + noise * torch.randn(*x.shape[:-1], width, generator=generator)
    special = torch.randn(clips, x.shape[1], 2, width, generator=generator)
    return latents, y, special


def moments_in_shards(latents, y, special, spec, shards: int) -> Moments:
    parts = []
    for index in torch.arange(len(latents)).chunk(shards):
        state = TokenState(POINT, y[index], special[index])
        parts.append(moments_of(patches(latents[index], spec), {POINT: state}))
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


@settings(max_examples=12, deadline=None)
@given(
    kernel=st.sampled_from([(1, 1, 1), (3, 3, 3), (3, 1, 3)]),
    mode=st.sampled_from(["zeros", "replicate"]),
    tokens=st.sampled_from([(4, 4), (2, 2), (3, 4)]),
    shards=st.sampled_from([1, 3]),
    bias=st.sampled_from(["channel", "position"]),
    seed=st.integers(0, 1000),
)
def test_equals_least_squares(kernel, mode, tokens, shards, bias, seed) -> None:
    spec = derive_spec((4, 4), tokens, 4, kernel, mode)
    latents, y, special = make_data(spec, 12, seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    moments = moments_in_shards(latents[order], y[order], special[order], spec, shards)
    solution = RidgePath(moments, bias).solve(POINT, 0.0)
    matrix = design_matrix(patches(latents, spec), bias)
    target = y.double().reshape(-1, y.shape[-1])
    expected = torch.linalg.lstsq(matrix, target, driver="gelsd").solution
    residual = target - matrix @ expected
    features = solution.weight.shape[0]
    if torch.linalg.matrix_rank(matrix) == matrix.shape[1]:
        torch.testing.assert_close(solution.weight, expected[:features], rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(solution.bias, expected[features:].expand_as(solution.bias), rtol=1e-8, atol=1e-9)
    mse = float(residual.square().mean())
    assert mean_squared_error(moments, POINT, solution) == pytest.approx(mse, rel=1e-8)
    total = float((target - target.mean(0)).square().sum())
    assert r_squared(moments, POINT, solution) == pytest.approx(1 - float(residual.square().sum()) / total, rel=1e-8)


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
@pytest.mark.parametrize("tokens", [(4, 4), (2, 2)])
def test_the_layer_has_the_predicted_error(bias: str, mode: str, tokens: tuple[int, int]) -> None:
    spec = derive_spec((4, 4), tokens, 4, (3, 3, 3), mode)
    latents, y, special = make_data(spec, 8, 5)
    moments = moments_in_shards(latents, y, special, spec, 2)
    heldout_latents, heldout_y, heldout_special = make_data(spec, 5, 6)
    heldout = moments_in_shards(heldout_latents, heldout_y, heldout_special, spec, 1)
    solution = RidgePath(moments, bias).solve(POINT, 1e-3)
    fit = as_layer(moments, POINT, solution, spec, tokens, 1e-3, bias)
    layer = StitchLayer(spec, fit).double()
    output = layer(heldout_latents.double()).detach()
    measured = float((output - heldout_y.double()).square().mean())
    assert mean_squared_error(heldout, POINT, solution) == pytest.approx(measured, rel=1e-6)


def test_special_tokens_are_means_by_role() -> None:
    spec = derive_spec((4, 4), (4, 4), 4, (1, 1, 1))
    latents, y, special = make_data(spec, 4, 7)
    moments = moments_in_shards(latents, y, special, spec, 3)
    fit = as_layer(moments, POINT, RidgePath(moments, "channel").solve(POINT, 0.0), spec, (4, 4), 0.0, "channel")
    torch.testing.assert_close(fit.special_tokens[0], special[:, 0].mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fit.special_tokens[1], special[:, 1:].mean((0, 1)), rtol=1e-5, atol=1e-6)


def test_planted_block_is_found_and_noise_is_not() -> None:
    """Block 1 is exactly linear in the latents, block 0 is noise, block 2 half of each."""
    spec = derive_spec((4, 4), (4, 4), 4, (3, 3, 3))
    splits = {}
    for split, clips, seed in (("fit", 24, 1), ("selection", 6, 2), ("heldout", 8, 3)):
        latents, planted, special = make_data(spec, clips, seed, noise=0.0)
        noise = torch.randn(planted.shape, generator=torch.Generator().manual_seed(seed + 10))
        states = {
            name: TokenState(name, tokens, special)
            for name, tokens in (("b0", noise), ("b1", planted), ("b2", planted + noise))
        }
        splits[split] = moments_of(patches(latents, spec), states)
    points = [StitchPoint(name, "encoder", 6, 2, True) for name in ("b0", "b1", "b2")]
    scores = [
        score
        for score, _ in score_points(
            splits["fit"], splits["selection"], splits["heldout"], points, spec, (4, 4), (1e-10, 1e-3, 1e3), "position"
        )
    ]
    assert scores[1].r2_heldout > 0.9999
    assert scores[0].r2_heldout < 0.01
    assert choose(scores)[0].point == "b1"
    assert choose(scores, "b2")[0].point == "b2"
    with pytest.raises(ValueError, match="no such candidate; allowed: b0, b1, b2"):
        choose(scores, "b9")


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
