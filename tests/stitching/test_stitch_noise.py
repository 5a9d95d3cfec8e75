"""The fit for noisy latents from moments of clean ones, against fits on rows that really are noisy."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_extract import SIZE, frames, same, tiny_tap
from test_moments_and_ridge import LAYERS, POINT, make_data
from tiny_networks import tiny_generator, tiny_network

from vist3a.records import Clip, TokenState
from vist3a.stitching.extract import accumulate
from vist3a.stitching.grids import derive_spec, patches
from vist3a.stitching.layer import standardise
from vist3a.stitching.layer_search import NOISE_SHARES, find_layer
from vist3a.stitching.moments import Moments, moments_of
from vist3a.stitching.noise import noise_gram
from vist3a.stitching.ridge import RidgePath, r_squared


def spec_of(layer, mode: str = "replicate", interpolation="corners"):
    kernel, stride, padding, tokens = layer
    return derive_spec((4, 4), tokens, 4, kernel, mode, stride=stride, padding=padding, interpolation=interpolation)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize("interpolation", ["corners", "centres", "nearest"])
def test_the_covariance_of_noise_is_that_of_impulses(layer, mode: str, interpolation) -> None:
    """One impulse per latent cell and channel, through the whole resampling at once."""
    spec, variances = spec_of(layer, mode, interpolation), torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    cells = torch.eye(3 * 2 * 4 * 4, dtype=torch.float64).reshape(-1, 3, 2, 4, 4)
    rows = patches(cells * variances.sqrt()[:, None, None, None], spec).flatten(0, 3)
    torch.testing.assert_close(noise_gram(spec, (2, 4, 4), variances), rows.T @ rows, rtol=1e-12, atol=1e-12)


def sigma_points(latents: torch.Tensor, share: float) -> torch.Tensor:
    """Per clip 2 n latents whose mean and covariance are exactly those of noise of ``share`` of the clip's root mean square."""
    n = latents[0].numel()
    step = torch.eye(n, dtype=latents.dtype).reshape(n, *latents.shape[1:]) * n**0.5
    size = share * latents.square().mean((1, 2, 3, 4), keepdim=True).sqrt()
    return torch.stack([torch.cat([z + s * step, z - s * step]) for z, s in zip(latents, size, strict=True)])


@pytest.mark.parametrize("bias", ["channel", "position"])
@pytest.mark.parametrize("share", [0.13, 1.0])
@pytest.mark.parametrize("statistics", [None, torch.tensor([[0.3, -1.0, 0.0], [0.5, 1.0, 2.0]], dtype=torch.float64)])
def test_the_fit_is_that_on_noisy_rows(bias, share: float, statistics) -> None:
    spec = spec_of(LAYERS[1])
    # Clips of unlike size: each has noise of its own.
    latents, y, special = make_data(spec, 6, seed=3)
    latents = latents * torch.linspace(0.5, 2, 6, dtype=torch.float64)[:, None, None, None, None]
    variances = torch.ones(3, dtype=torch.float64) if statistics is None else 1 / statistics[1].square()
    power = latents.square().mean((1, 2, 3, 4)).sum()
    clean = moments_of(
        patches(standardise(latents, statistics), spec),
        {POINT: TokenState(POINT, y, special)},
        noise=power * noise_gram(spec, (2, 4, 4), variances),
    )
    drawn = sigma_points(latents, share)
    copies = drawn.shape[1]
    rows = patches(standardise(drawn.flatten(0, 1), statistics), spec)
    state = TokenState(POINT, y.repeat_interleave(copies, 0), special.repeat_interleave(copies, 0))
    noisy = moments_of(rows, {POINT: state})
    expected = Moments.from_state({key: value / copies for key, value in noisy.state().items()})
    found = clean.noisy(share)
    same(replace(found, noise=None), expected)
    for ridge in (1e-6, 1e-2):
        ours, theirs = RidgePath(found, bias).solve(POINT, ridge), RidgePath(noisy, bias).solve(POINT, ridge)
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-8, atol=1e-10)
        mean = y.double().mean((0, 1, 2, 3))
        assert r_squared(found, POINT, ours, mean) == pytest.approx(r_squared(noisy, POINT, ours, mean), abs=1e-10)


@pytest.mark.parametrize("normalised", [False, True])
def test_moments_of_clips_know_their_noise(normalised: bool) -> None:
    """Through the networks: the power of raw latents, the grid of each clip; sums and files keep it."""
    tap = tiny_tap(kernel=(3, 3, 3), normalised=normalised)
    source = frames(3) | frames(1, seed=1, views=9)
    moments = accumulate(tap, list(source), source.__getitem__, batch=1)
    expected = torch.zeros_like(moments.gram)
    for clip in source.values():
        latents = tap.generator.encode(clip[None] / 255).double()
        scale = torch.ones(latents.shape[1]) if tap.latent_statistics is None else tap.latent_statistics[1]
        gram = noise_gram(tap.settings.spec, tuple(latents.shape[2:]), 1 / scale.double().square())
        expected += latents.square().mean() * gram
    torch.testing.assert_close(moments.noise, expected, rtol=1e-5, atol=1e-8)
    same(Moments.from_state(moments.state()), moments)
    assert Moments.from_state(moments.state()).noise is not None


def test_what_has_no_noise_or_a_wrong_one_is_refused() -> None:
    spec = spec_of(LAYERS[0])
    latents, y, special = make_data(spec, 2, seed=0)
    moments = moments_of(patches(latents, spec), {POINT: TokenState(POINT, y, special)})
    assert moments.noisy(0.0) is moments
    with pytest.raises(ValueError, match=r"knew no noise.*score\.latent_noise 0"):
        moments.noisy(0.1)
    with pytest.raises(ValueError, match="at least 0 is allowed"):
        moments.noisy(-0.1)


def test_a_search_for_noisy_latents_bears_noise_better_and_says_so() -> None:
    """The layer that is best on clean latents loses under noise to the one that was fitted for it; points are ranked under it."""
    generator, network = tiny_generator(), tiny_network()
    # Smooth pictures: what latents say of them can be learned from few clips.
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(40, 5, 3, 2, 2, generator=random)
    smooth = torch.nn.functional.interpolate(coarse.flatten(0, 1), SIZE, mode="bilinear").unflatten(0, (40, 5))
    clips = [Clip(f"clip{i}", one, "") for i, one in enumerate(smooth)]
    options = {"kinds": ("encoder",), "ridges": (1e-6, 1e-4), "kernel": (1, 3, 3), "seed": 2}
    clean, robust = (find_layer(generator, network, clips, **options, noise=noise) for noise in (0.0, 0.5))
    for name in clean.solved:
        assert clean.under_noise((0.5,))[0.5][name] < robust.under_noise((0.5,))[0.5][name]
        assert clean.under_noise((0.0,))[0.0][name] == pytest.approx(
            next(score.r2_heldout for score in clean.scores if score.point == name)
        )
    assert tuple(robust.under_noise()) == NOISE_SHARES
    complete = [score for score in robust.scores if score.complete]
    assert robust.best.r2_noisy == max(score.r2_noisy for score in complete)
    assert robust.best.r2_noisy == pytest.approx(robust.under_noise((0.5,))[0.5][robust.best.point])
    assert "under the noise" in robust.choose()[1]
    assert clean.best.r2_noisy is None
