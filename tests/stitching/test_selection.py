"""What the layer search chooses, and from which clips; what samples of latents depend on; what stitched heads see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stitching.test_decoder import SIZE, clips, fitted
from stitching.test_extract import frames, tiny_tap
from stitching.test_moments_and_ridge import POINT, make_data, moments_in_shards, tap_settings
from tiny_networks import tiny_generator, tiny_network

from vist3a.data.clip_batches import ClipBatch
from vist3a.metrics.depth import depth_errors
from vist3a.records import LayerScore
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import accumulate
from vist3a.stitching.functional_error import output_distance, sequential, stitched
from vist3a.stitching.grids import derive_spec
from vist3a.stitching.heldout import HeldOut, PointErrors, measure
from vist3a.stitching.layer import StitchLayer
from vist3a.stitching.ridge import RidgePath, mean_squared_error
from vist3a.stitching.search import choose, score_points, solve_points

RIDGES = (1e-9, 1e-3, 1e-1, 1.0, 10.0)


@pytest.mark.parametrize("bias", ["channel", "position"])
def test_the_ridge_is_the_best_on_the_selection_clips(bias: str) -> None:
    """Few clips with much noise: on them the smallest ridge is the best, elsewhere a large one."""
    spec = derive_spec((4, 4), (4, 4), 4, (3, 3, 3))
    fit, selection = (moments_in_shards(*make_data(spec, 4, seed, noise=2.0), spec, 1) for seed in (1, 2))
    path = RidgePath(fit, bias)
    errors = {name: [mean_squared_error(moments, POINT, path.solve(POINT, ridge)) for ridge in RIDGES]
              for name, moments in (("fit", fit), ("selection", selection))}  # fmt: skip
    best = {name: RIDGES[values.index(min(values))] for name, values in errors.items()}
    assert best["fit"] == min(RIDGES) < best["selection"] < max(RIDGES)
    solved = solve_points(fit, selection, tap_settings(spec, (4, 4)), RIDGES, bias)[POINT]
    assert solved.ridge == solved.layer.ridge == best["selection"]
    assert torch.equal(solved.candidate.solution.weight, path.solve(POINT, best["selection"]).weight)
    # The convolution that it is compared with has a ridge of its own, chosen in the same way.
    plain = RidgePath(fit, "channel")
    errors_plain = [mean_squared_error(selection, POINT, plain.solve(POINT, ridge)) for ridge in RIDGES]
    assert mean_squared_error(selection, POINT, solved.conv_only) == pytest.approx(min(errors_plain), rel=1e-12)
    assert torch.equal(solved.candidate.mean, fit.points[POINT].sum_y.sum(0) / fit.count.sum())


def score(point: str, r2: float, complete: bool) -> LayerScore:
    return LayerScore(point=point, kind="encoder", complete=complete, ridge=0.1, mse_heldout=1 - r2, r2_heldout=r2, r2_low=r2,
                      r2_high=r2, r2_border=r2, r2_centre=r2, r2_frames=(r2,), r2_fit=r2, r2_heldout_conv=r2, cka=r2)  # fmt: skip


def test_only_a_complete_entry_can_win() -> None:
    scores = [score("a", 0.3, True), score("b", 0.6, True), score("c", 0.9, False), score("d", 0.5, True)]
    found, reason = choose(scores)
    assert found.point == "b" and "complete entry" in reason
    assert choose(scores, "d")[0].point == "d"
    assert choose(scores[::-1])[0].point == "b"


@pytest.mark.parametrize("normalised", [False, True])
def test_every_clip_is_sampled_with_noise_of_its_own_name_and_seed(normalised: bool) -> None:
    """Two clips of one content differ in their samples alone; the name and the seed decide, not place or batch."""
    content = frames(1)["clip0-0"]

    def rows(names: tuple[str, ...], seed: int | None) -> torch.Tensor:
        tap = tiny_tap(kernel=(3, 3, 3), sample_seed=seed, normalised=normalised)
        return tap(ClipBatch(names, torch.stack([content] * len(names))))[0]

    one = rows(("a", "b"), 1)
    assert float((one[0] - one[1]).abs().max()) > 1e-3
    assert torch.equal(rows(("b", "c", "a"), 1)[[2, 0]], one)
    assert float((rows(("a", "b"), 2) - one).abs().amax((1, 2, 3, 4)).min()) > 1e-3
    mode = rows(("a", "b"), None)
    assert torch.equal(mode[0], mode[1]) and not torch.equal(mode, one)


@torch.no_grad()
def test_heads_of_a_stitched_network_see_the_true_frames_and_the_baseline_decoded_ones() -> None:
    generator, network = tiny_generator(), tiny_network()
    fit, spec = fitted()
    decoder = StitchedDecoder(network, spec, fit).double()
    seen = clips(1, seed=5)[0].frames[None]
    latents = generator.encode(seen)
    decoded = generator.decode(latents)
    true, other = (decoder(latents, SIZE, picture).gaussians for picture in (seen, decoded))
    found = stitched(decoder, generator)(seen).gaussians
    assert true is not None and other is not None and found is not None
    assert float((true.harmonics - other.harmonics).abs().max()) > 1e-3, "these heads read the picture"
    for name in ("means", "scales", "harmonics", "opacities"):
        torch.testing.assert_close(getattr(found, name), getattr(true, name))
    baseline = sequential(network, generator)(seen)
    torch.testing.assert_close(baseline.depth, network.reconstruct(decoded).depth)
    assert float((baseline.depth - network.reconstruct(seen).depth).abs().max()) > 1e-4
    assert stitched(decoder, generator)(seen, with_gaussians=False).gaussians is None
    assert (
        baseline.gaussians is not None and sequential(network, generator)(seen, with_gaussians=False).gaussians is None
    )


@torch.no_grad()
def test_distances_to_the_original_are_those_of_their_definitions() -> None:
    """Depth without any scale, relative turns of all pairs of views, centres and points in the scene's unit."""
    generator, network = tiny_generator(), tiny_network()
    fit, spec = fitted()
    decoder, clip = StitchedDecoder(network, spec, fit).double(), clips(1, seed=5)[0]
    found = output_distance(stitched(decoder, generator), network, [clip], torch.device("cpu"))
    ours, true = (
        decoder(generator.encode(clip.frames[None]), SIZE, clip.frames[None]),
        network.reconstruct(clip.frames[None]),
    )
    depth = ((ours.depth - true.depth).abs() / true.depth).mean()
    assert found["depth_absrel"] == pytest.approx(float(depth), rel=1e-6)
    assert found["depth_absrel"] != pytest.approx(float(depth_errors(ours.depth, true.depth).abs_rel.mean()), rel=1e-3)
    assert found["points"] == pytest.approx(float((ours.points - true.points).square().sum(-1).sqrt().mean()), rel=1e-6)
    turns = [output.cameras.world_to_camera[0, :, :3, :3] for output in (ours, true)]
    centres = [
        -(r.mT @ output.cameras.world_to_camera[0, :, :3, 3:])[..., 0]
        for r, output in zip(turns, (ours, true), strict=True)
    ]
    apart = (centres[0] - centres[1]).square().sum(-1).sqrt().mean()
    assert found["translation"] == pytest.approx(float(apart), rel=1e-6)
    angles = []
    for i in range(5):
        for j in range(i):
            one, other = (r[j] @ r[i].T for r in turns)
            cosine = ((one @ other.T).trace() - 1) / 2
            angles.append(torch.rad2deg(torch.acos(cosine.clamp(-1, 1))))
    assert found["rotation_deg"] == pytest.approx(float(torch.stack(angles).mean()), rel=1e-4)


def test_held_out_clips_are_counted_as_they_are_done() -> None:
    tap, source = tiny_tap(kernel=(3, 3, 3)), frames(5)
    moments = accumulate(tap, list(source), source.__getitem__, batch=2)
    solved = solve_points(moments, moments, tap.settings, (1e-3,), "position")
    candidates = {name: found.candidate for name, found in solved.items()}
    counted: list[int] = []
    seen = measure(tap, candidates, list(source), source.__getitem__, batch=2, done=counted.append)
    assert counted == [2, 2, 1] and seen.names == tuple(source)
    for key, value in moments.state().items():
        assert value.dtype == torch.float64, key
        torch.testing.assert_close(seen.moments.state()[key], value)
    # One view as the first of its clip and four others, of five clips.
    assert moments.special_count.tolist() == [5, 20] and moments.count.tolist() == [25.0] * 4
    for errors in seen.points.values():
        assert errors.scenes.shape == (2, 5) and errors.places.shape == (2, 5, 2, 2)
        torch.testing.assert_close(errors.scenes.sum(1), errors.places.sum((1, 2, 3)))


def test_the_ends_and_the_rim_of_a_score() -> None:
    """Intervals hold the middle 95 % of resampled scenes; the rim of a grid is its outermost ring."""
    spec = derive_spec((4, 4), (4, 4), 4, (3, 3, 3))
    latents, y, special = make_data(spec, 6, 1)
    moments = moments_in_shards(latents, y, special, spec, 1)
    settings = tap_settings(spec, (4, 4))
    solved = solve_points(moments, moments, settings, (1e-3,), "position")
    random = torch.Generator().manual_seed(0)
    places = torch.rand(2, 3, 4, 4, generator=random).double() + torch.tensor([0.0, 2.0]).double().view(2, 1, 1, 1)
    scenes = torch.rand(2, 8, generator=random).double() + torch.tensor([[0.0], [2.0]]).double()
    heldout = HeldOut(tuple("abcdefgh"), moments, {POINT: PointErrors(scenes, places, 0.5)})
    (score,) = score_points(solved, heldout, settings, seed=4)
    assert score.r2_heldout == pytest.approx(1 - float(scenes[0].sum() / scenes[1].sum()))
    middle = places[:, :, 1:3, 1:3].sum((1, 2, 3))
    rim = places.sum((1, 2, 3)) - middle
    assert score.r2_centre == pytest.approx(1 - float(middle[0] / middle[1]))
    assert score.r2_border == pytest.approx(1 - float(rim[0] / rim[1]))
    assert score.r2_frames == pytest.approx([1 - float(places[0, v].sum() / places[1, v].sum()) for v in range(3)])
    drawn = np.random.default_rng(4).integers(0, 8, (2000, 8))
    resampled = [1 - scenes[0, row].sum().item() / scenes[1, row].sum().item() for row in drawn]
    assert (score.r2_low, score.r2_high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
    assert score.mse_heldout == pytest.approx(float(scenes[0].sum()) / float(moments.count.sum()) / 6)
    assert score.cka == 0.5 and score.ridge == 1e-3


def test_a_layer_trains_what_was_fitted_and_stores_no_statistics() -> None:
    """The bias per position holds the bias of the channels; the statistics of the latents are part of the fit."""
    spec = derive_spec((4, 4), (4, 4), 4, (3, 3, 3))
    statistics = torch.tensor([[0.5, -1.0, 2.0], [0.3, 2.0, 1.5]])
    moments = moments_in_shards(*make_data(spec, 6, 1), spec, 1)
    for bias in ("channel", "position"):
        solved = solve_points(moments, moments, tap_settings(spec, (4, 4)), (1e-3,), bias, statistics)[POINT]
        layer = StitchLayer(spec, solved.layer)
        assert torch.equal(layer.statistics, statistics)
        names = {"conv.weight", "conv.bias"} | ({"position_bias"} if bias == "position" else set())
        assert layer.state_dict().keys() == names == dict(layer.named_parameters()).keys()
        assert bool((layer.conv.bias == 0).all()) == (bias == "position")
        assert solved.layer.special_tokens.dtype == torch.float32


def test_latents_are_tapped_raw_and_as_the_mode_where_nothing_is_said() -> None:
    settings = tap_settings(derive_spec((4, 4), (4, 4), 4), (4, 4))
    assert settings.sample_seed is None and not settings.normalised
    tap = tiny_tap()
    assert tap.latent_statistics is None and tap.settings.spec.kernel == (5, 3, 3)
    assert (tap.settings.spec.padding_mode, tap.settings.spec.interpolation) == ("replicate", "corners")
