"""The stitched decoder: exact where the fit is exact, the tuned parameters round-trip, gradients reach the latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_networks import tiny_generator, tiny_network

from vist3a.records import StitchFit
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import accumulate, spec_for
from vist3a.stitching.functional_error import output_distance, stitched
from vist3a.stitching.search import score_points
from vist3a.stitching.store import load_fit, load_moments, save_fit, save_moments
from vist3a.stitching.tuning import load_trained, prepare, save_trained

SIZE = (16, 16)


def clips(count: int, frames: int = 5, seed: int = 0):
    from vist3a.records import Clip

    generator = torch.Generator().manual_seed(seed)
    return [Clip(f"c{i}", torch.rand(frames, 3, *SIZE, generator=generator).double()) for i in range(count)]


def fitted(point: str = "encoder.01", bias: str = "position") -> tuple[StitchFit, object]:
    generator, network = tiny_generator(), tiny_network()
    spec = spec_for(generator, network, SIZE, (3, 3, 3), "replicate")
    points = [p for p in network.stitch_points if p.name == point]
    moments = accumulate(clips(6), generator, network, [point], spec, torch.device("cpu"))
    ((_, fit),) = score_points(moments, moments, moments, points, spec, (2, 2), (1e-6,), bias)
    return fit, spec


def test_extraction_is_independent_of_order_and_split() -> None:
    generator, network = tiny_generator(), tiny_network()
    spec = spec_for(generator, network, SIZE, (3, 3, 3), "replicate")
    names = [point.name for point in network.stitch_points]
    device = torch.device("cpu")
    data = clips(4)
    whole = accumulate(data, generator, network, names, spec, device)
    halves = accumulate(data[2:], generator, network, names, spec, device) + accumulate(
        data[:2], generator, network, names, spec, device
    )
    for key, value in whole.state().items():
        torch.testing.assert_close(halves.state()[key], value, rtol=1e-10, atol=1e-10)


def test_exact_tokens_give_the_original_network() -> None:
    """A stitch layer that emits the true tokens of one clip (bias per position, equal views) reproduces the network there."""
    generator, network = tiny_generator(), tiny_network()
    spec = spec_for(generator, network, SIZE, (1, 1, 1), "replicate")
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


def test_moments_folder_round_trip_and_functional_error(tmp_path: Path) -> None:
    generator, network = tiny_generator(), tiny_network()
    spec = spec_for(generator, network, SIZE, (3, 3, 3), "zeros")
    points = [p for p in network.stitch_points if p.kind == "encoder"]
    moments = accumulate(clips(3), generator, network, [p.name for p in points], spec, torch.device("cpu"))
    save_moments(tmp_path, {"fit": moments}, spec, points, (2, 2))
    splits, again, read_points, grid = load_moments(tmp_path)
    assert (again, read_points, grid) == (spec, points, (2, 2))
    torch.testing.assert_close(splits["fit"].gram, moments.gram)
    fit, spec = fitted()
    decoder = StitchedDecoder(network, spec, fit).double()
    distance = output_distance(stitched(decoder, generator), network, clips(2, seed=5), torch.device("cpu"))
    assert all(value > 0 for value in distance.values())
    itself = output_distance(network.reconstruct, network, clips(2, seed=5), torch.device("cpu"))
    assert max(itself.values()) < 1e-5
