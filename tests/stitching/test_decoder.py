"""The stitched decoder: exact where the fit is exact, the tuned parameters round-trip, gradients reach the latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_networks import tiny_generator, tiny_network

from vist3a.records import StitchFit
from vist3a.records.frame_size import resize_frames
from vist3a.rendering import renderer_for
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import TapConfig, accumulate, tap_settings
from vist3a.stitching.functional_error import clip_distances, output_distance, sequential, stitched
from vist3a.stitching.grids import StitchSpec
from vist3a.stitching.search import solve_points
from vist3a.stitching.store import load_fit, load_moments, save_fit, save_moments
from vist3a.stitching.tap import Tap
from vist3a.stitching.tuning import load_trained, prepare, save_trained

SIZE = (16, 16)


def clips(count: int, frames: int = 5, seed: int = 0):
    from vist3a.records import Clip

    generator = torch.Generator().manual_seed(seed)
    return [Clip(f"c{i}", torch.rand(frames, 3, *SIZE, generator=generator).double()) for i in range(count)]


def fitted(point: str = "encoder.01", bias: str = "position") -> tuple[StitchFit, StitchSpec]:
    tap = tapped([point])
    moments = accumulate(tap, *sources(6), batch=2)
    solved = solve_points(moments, moments, tap.settings, (1e-6,), bias)
    return solved[point].layer, tap.settings.spec


def tapped(names: list[str], mode: str = "replicate") -> Tap:
    generator, network = tiny_generator(), tiny_network()
    points = [point for point in network.stitch_points if point.name in names]
    settings = tap_settings(generator, network, points, SIZE, TapConfig(kernel=(3, 3, 3), padding_mode=mode))
    return Tap(generator, network, settings)


def sources(count: int):
    frames = {clip.name: (clip.frames * 255).round().byte() for clip in clips(count)}
    return list(frames), frames.__getitem__


def test_exact_tokens_give_the_original_network() -> None:
    """A stitch layer that emits the true tokens of one clip (bias per position, equal views) reproduces the network there."""
    generator, network = tiny_generator(), tiny_network()
    spec = tap_settings(generator, network, network.stitch_points[:1], SIZE, TapConfig(kernel=(1, 1, 1))).spec
    frame = torch.rand(1, 1, 3, *SIZE, dtype=torch.float64)
    state = network.tokens_at(["encoder.01"], frame)["encoder.01"]
    width = state.patch_tokens.shape[-1]
    special = state.special_tokens[0, :1].expand(2, -1, -1)
    fit = StitchFit(
        "encoder.01", torch.zeros(width, 4, 1, 1, 1), torch.zeros(width), state.patch_tokens[0, 0], special, 0.0
    )
    decoder = StitchedDecoder(network, spec, fit).double()
    output = decoder(generator.encode(frame), SIZE, rgb=frame)
    target = network.reconstruct(frame)
    torch.testing.assert_close(output.depth, target.depth)
    torch.testing.assert_close(output.pose_encodings, target.pose_encodings)


def test_chosen_views_are_those_of_the_whole_clip() -> None:
    fit, spec = fitted()
    decoder = StitchedDecoder(tiny_network(), spec, fit).double()
    latents = tiny_generator().encode(torch.stack([clip.frames for clip in clips(2)]))
    views = torch.tensor([3, 0])
    whole, chosen = decoder.state(latents), decoder.state(latents, views)
    torch.testing.assert_close(chosen.patch_tokens, whole.patch_tokens[:, views])
    assert torch.equal(chosen.special_tokens, whole.special_tokens[:, views])


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_trained_parameters_round_trip(tuning: str, tmp_path: Path) -> None:
    fit, spec = fitted()
    base = tmp_path / "layer"
    base.mkdir()
    save_fit(base, fit, spec)
    decoder = StitchedDecoder(tiny_network(), spec, fit)
    prepare(decoder, tuning, 2, 4.0)
    trained = [p for p in decoder.parameters() if p.requires_grad]
    with torch.no_grad():
        for p in trained:
            p.add_(0.05 * torch.randn_like(p))
    decoder.double()
    folder = tmp_path / "trained"
    folder.mkdir()
    save_trained(folder, decoder, base)
    again_fit, again_spec = load_fit(folder)
    assert again_spec == spec
    assert torch.equal(again_fit.weight, fit.weight)
    again = StitchedDecoder(tiny_network(), again_spec, again_fit)
    prepare(again, tuning, 2, 4.0)
    load_trained(folder, again.double())
    latents, rgb = torch.randn(1, 4, 2, 2, 2).double(), torch.rand(1, 5, 3, *SIZE).double()
    assert torch.equal(again(latents, SIZE, rgb).depth, decoder(latents, SIZE, rgb).depth)
    other = StitchedDecoder(tiny_network(), spec, fit)
    prepare(other, "lora" if tuning == "full" else "full", 2, 4.0)
    with pytest.raises(ValueError, match=r"other settings of distill\.tuning"):
        load_trained(folder, other)


def test_incomplete_points_are_refused() -> None:
    fit, spec = fitted("aggregator.frame.01")
    with pytest.raises(ValueError, match="not a complete entry"):
        StitchedDecoder(tiny_network(), spec, fit)


def test_gradient_reaches_the_latents() -> None:
    fit, spec = fitted()
    decoder = StitchedDecoder(tiny_network(), spec, fit).double()
    latents = torch.randn(1, 4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    rgb = torch.rand(1, 5, 3, *SIZE, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: decoder(z, SIZE, rgb).depth, latents, fast_mode=True)


def test_moments_folder_round_trip(tmp_path: Path) -> None:
    tap = tapped(["encoder.00", "encoder.norm"], "zeros")
    moments = accumulate(tap, *sources(3), batch=2)
    save_moments(tmp_path, {"fit": moments}, tap.settings)
    splits, settings = load_moments(tmp_path, torch.device("cpu"))
    assert settings == tap.settings
    for key, value in moments.state().items():
        assert torch.equal(splits["fit"].state()[key], value)
    with pytest.raises(FileNotFoundError, match=r"tap\.json is missing; `kedro run --pipelines=extract` writes"):
        load_moments(tmp_path / "nowhere", torch.device("cpu"))


def test_functional_error() -> None:
    generator, network = tiny_generator(), tiny_network()
    fit, spec = fitted()
    decoder, render = StitchedDecoder(network, spec, fit).double(), renderer_for(torch.device("cpu"))
    device, seen = torch.device("cpu"), clips(2, seed=5)
    distance = output_distance(stitched(decoder, generator), network, seen, device, render)
    assert {"depth_absrel", "rotation_deg", "translation", "points", "rendered_l1"} == distance.keys()
    assert all(value > 0 for value in distance.values())
    each = [output_distance(stitched(decoder, generator), network, [clip], device, render) for clip in seen]
    values = clip_distances({"one": stitched(decoder, generator)}, network, seen, device, render)["one"]
    assert values == {name: [one[name] for one in each] for name in distance}
    assert distance == pytest.approx({name: sum(two) / 2 for name, two in values.items()}, rel=1e-12)
    itself = output_distance(network.reconstruct, network, seen, device, render)
    assert max(itself.values()) < 1e-5
    # Several at once; a shorter clip is not put together with a longer one.
    first, second, third, fourth = clips(4, frames=9, seed=6)
    mixed = [first, second, third, replace(fourth, frames=fourth.frames[:5])]
    variants = {"stitched": stitched(decoder, generator), "decoded": sequential(network, generator)}
    alone, together = (clip_distances(variants, network, mixed, device, batch=batch) for batch in (1, 2))
    assert alone.keys() == together.keys() == variants.keys()
    for name in variants:
        assert alone[name].keys() == distance.keys() - {"rendered_l1"}
        for error, one in alone[name].items():
            assert together[name][error] == pytest.approx(one, rel=1e-6)
            assert len(set(one)) == 4
    # Larger clips: each network is given its own size.
    large = [replace(clip, frames=torch.rand(5, 3, 32, 24, dtype=torch.float64)) for clip in seen]
    small = [replace(clip, frames=resize_frames(clip.frames[None], SIZE)[0]) for clip in large]
    expected = output_distance(stitched(decoder, generator), network, small, device)
    generator.input_size = network.input_size = SIZE
    found = output_distance(stitched(decoder, generator), network, large, device)
    assert found == pytest.approx(expected, rel=1e-5)
