"""Parts around the fit written out: searches at their edges, distances, tuning, linear frames, orders, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reconstruction_cases import build
from released_checkpoint import published
from stitching.test_decoder import SIZE, clips, fitted
from stitching.test_released import network as anysplat
from tiny_networks import tiny_generator, tiny_network
from torch import Tensor
from torch.nn import functional

from vist3a.data.ordering import order_views
from vist3a.metrics.depth import depth_errors
from vist3a.metrics.pose import pair_errors
from vist3a.records import Cameras, Clip, Reconstruction
from vist3a.records.frame_size import resize_frames
from vist3a.rendering import renderer_for
from vist3a.stitching.decoder import StitchedDecoder
from vist3a.stitching.extract import TapConfig
from vist3a.stitching.functional_error import clip_distances, compared, sequential, stitched
from vist3a.stitching.grids import patches, resample_and_pad
from vist3a.stitching.layer_search import find_layer, search_clips
from vist3a.stitching.linear_frames import fit_linear_frames
from vist3a.stitching.released import load_released
from vist3a.stitching.sequential import SequentialDecoder
from vist3a.stitching.stitch import reconstruct, stitch
from vist3a.stitching.store import load_fit, save_fit
from vist3a.stitching.tuning import prepare, put_back, save_trained, trained_parameters
from vist3a.stitching.unordered import restored

CPU = torch.device("cpu")


def wide_clips(count: int, frames: int = 5, size: tuple[int, int] = (16, 32)) -> list[Clip]:
    random = torch.Generator().manual_seed(count)
    return [Clip(f"c{i}", torch.rand(frames, 3, *size, generator=random).double()) for i in range(count)]


def test_one_clip_of_each_split_is_enough_and_incomplete_points_may_be_named() -> None:
    data = wide_clips(3)
    frames = {clip.name: (clip.frames * 255).round().to(torch.uint8) for clip in data}
    splits = {"fit": ["c0"], "selection": ["c1"], "heldout": ["c2"]}
    generator, network = tiny_generator(), tiny_network()
    incomplete = next(point.name for point in network.stitch_points if not point.complete)
    given = (generator, network, splits, frames.__getitem__, TapConfig(kernel=(1, 1, 1)))
    found = search_clips(*given, points=[incomplete], ridges=(1e-2,))
    assert [score.point for score in found.scores] == [incomplete] and found.settings.token_grid == (2, 4)
    whole = find_layer(
        generator, network, {split: [data[i]] for i, split in enumerate(splits)}, kernel=(1, 1, 1), ridges=(1e-2,)
    )
    assert {score.ridge for score in whole.scores} == {1e-2} and whole.noise == 0
    by_name = {score.point: score for score in whole.scores}
    assert by_name[incomplete].r2_heldout == pytest.approx(found.scores[0].r2_heldout, rel=1e-9)
    # The bias is one per channel unless it is said otherwise.
    assert all(own.layer.position_bias is None for own in whole.solved.values())
    kinds = [
        kind
        for kind in dict.fromkeys(p.kind for p in network.stitch_points)
        if kind not in {p.kind for p in network.stitch_points if p.complete}
    ]
    for kind in kinds[:1]:
        with pytest.raises(ValueError, match=r"no candidate point is a complete entry"):
            search_clips(*given, kinds=[kind])
    decoder = stitch(
        generator,
        network,
        {split: [data[i]] for i, split in enumerate(splits)},
        point=whole.best.point,
        kernel=(1, 1, 1),
    )
    assert decoder.point == whole.best.point and not decoder.training


def test_scenes_are_reconstructed_by_a_network_alone_or_a_decoder_with_its_generator() -> None:
    generator, network = tiny_generator(), tiny_network()
    fit, spec = fitted()
    decoder, frames = StitchedDecoder(tiny_network(), spec, fit).double(), clips(1)[0].frames[None]
    torch.testing.assert_close(reconstruct(frames, network).depth, network.reconstruct(frames).depth)
    torch.testing.assert_close(
        reconstruct(frames, decoder, generator).depth, decoder(generator.encode(frames), SIZE, frames).depth
    )
    for by, with_generator in ((network, generator), (decoder, None)):
        with pytest.raises(ValueError, match="a stitched decoder is allowed with its generator, a 3D network without"):
            reconstruct(frames, by, with_generator)


@torch.no_grad()
def test_distances_of_every_variant_are_held_against_one_target() -> None:
    """With renderings, clip by clip, for two ways to reconstruct; averages and ratios follow from them."""
    generator, network, render = tiny_generator(), tiny_network(), renderer_for(CPU)
    fit, spec = fitted()
    decoder, seen = StitchedDecoder(tiny_network(seed=1), spec, fit).double(), clips(3, seed=5)
    variants = {"stitched": stitched(decoder, generator), "decoded": sequential(network, generator)}
    found = clip_distances(variants, network, seen, CPU, render, batch=2)
    for name, variant in variants.items():
        for i, clip in enumerate(seen):
            ours, true = variant(clip.frames[None]), network.reconstruct(clip.frames[None])
            assert ours.gaussians is not None and true.gaussians is not None
            pictures = [render(scene.gaussians, true.cameras, SIZE).rgb for scene in (ours, true)]  # type: ignore[arg-type]
            expected = {
                "depth_absrel": depth_errors(ours.depth, true.depth, align=False).abs_rel.mean(),
                "rotation_deg": pair_errors(ours.cameras, true.cameras).rotation.mean(),
                "translation": (ours.cameras.centers - true.cameras.centers).norm(dim=-1).mean(),
                "points": (ours.points - true.points).norm(dim=-1).mean(),
                "rendered_l1": (pictures[0] - pictures[1]).abs().mean(),
            }
            assert {key: values[i] for key, values in found[name].items()} == pytest.approx(
                {key: float(value) for key, value in expected.items()}, rel=1e-6
            )
    assert "rendered_l1" not in clip_distances(variants, network, seen[:1], CPU)["decoded"]
    told = compared({"a": [1.0, 3.0], "b": [2.0]}, {"a": [1.0, 1.0], "b": [8.0]}, max)
    assert told == {"before": {"a": 3.0, "b": 2.0}, "after": {"a": 1.0, "b": 8.0}, "ratio": {"a": 1 / 3, "b": 4.0}}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_adapters_start_alike_wherever_they_are_made_and_are_stored_as_asked(
    tmp_path: Path, dtype: torch.dtype | None
) -> None:
    fit, spec = fitted()
    (tmp_path / "layer").mkdir()
    (tmp_path / "trained").mkdir()
    save_fit(tmp_path / "layer", fit, spec)
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        decoder = StitchedDecoder(tiny_network(dtype=torch.float32), spec, fit)
        torch.manual_seed(seed)
        prepare(decoder, "lora", 2, 4.0)
        # The global generator goes on as if nothing had been drawn.
        torch.testing.assert_close(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(seed)))
        made.append(decoder)
    trained = [trained_parameters(decoder) for decoder in made]
    assert trained[0].keys() == trained[1].keys() and any("lora_A" in name for name in trained[0])
    for name, value in trained[0].items():
        assert torch.equal(value, trained[1][name]) and not value.requires_grad, name
    own = {name for name, p in made[0].named_parameters() if p.requires_grad}
    assert own == trained[0].keys()
    assert {"layer.conv.weight", "special_tokens"} <= own and not any("base_layer.weight" in name for name in own)
    assert any(name.endswith("base_layer.bias") for name in own)
    # Copies: what is trained on does not change them, and they can be put back.
    before = {name: value.clone() for name, value in trained[0].items()}
    with torch.no_grad():
        for parameter in made[0].parameters():
            parameter.add_(1.0)
    assert all(torch.equal(trained[0][name], value) for name, value in before.items())
    put_back(made[0], trained[0])
    assert all(torch.equal(trained_parameters(made[0])[name], value) for name, value in before.items())
    save_trained(tmp_path / "trained", made[0], tmp_path / "layer", dtype)
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "trained" / "trained.safetensors")
    assert stored.keys() == before.keys()
    assert {value.dtype for value in stored.values()} == {dtype or torch.float32}
    again, _ = load_fit(tmp_path / "trained")
    assert torch.equal(again.weight, fit.weight) and again.ridge == fit.ridge and again.point == fit.point


@pytest.mark.parametrize("size", [(32, 48), (20, 30), (33, 50)])
def test_linear_frames_are_ridge_regressions_on_patches_of_blocks(size: tuple[int, int]) -> None:
    """Single-precision networks, blocks that are higher than wide or not, a ridge relative to the mean diagonal."""
    generator, ridge = tiny_generator(dtype=torch.float32), 0.05
    data = [replace(clip, frames=clip.frames.float()) for clip in wide_clips(3, size=(32, 48))]
    found = fit_linear_frames(data, generator, size, CPU, (1, 3, 1), ridge)
    block = (-(-size[0] // 4), -(-size[1] // 6))
    assert found.block == block and found.size == size and found.weight.dtype == torch.float32
    rows, targets = [], []
    with torch.no_grad():
        for clip in data:
            latents = generator.encode(clip.frames[None])
            rows.append(patches(latents.double(), found.spec).flatten(0, 3))
            wanted = resize_frames(generator.decode(latents).double(), (4 * block[0], 6 * block[1]))[0]
            for view in wanted:
                for y, x in np.ndindex(4, 6):
                    part = view[:, y * block[0] : (y + 1) * block[0], x * block[1] : (x + 1) * block[1]]
                    targets.append(part.flatten())
    x, y = torch.cat(rows), torch.stack(targets)
    dx, dy = x - x.mean(0), y - y.mean(0)
    gram = dx.T @ dx
    weight = torch.linalg.solve(gram + ridge * gram.diagonal().mean() * torch.eye(len(gram)).double(), dx.T @ dy)
    torch.testing.assert_close(found.weight.flatten(1).T.double(), weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.bias.double(), y.mean(0) - x.mean(0) @ weight, rtol=1e-4, atol=1e-5)
    # What it shows are those blocks in their places.
    latents = generator.encode(data[0].frames[None]).detach()
    seen = functional.conv3d(resample_and_pad(latents, found.spec), found.weight, found.bias)
    whole = torch.zeros(1, 5, 3, 4 * block[0], 6 * block[1])
    for view, row, column in np.ndindex(5, 4, 6):
        part = seen[0, :, view, row, column].view(3, *block)
        whole[0, view, :, row * block[0] : (row + 1) * block[0], column * block[1] : (column + 1) * block[1]] = part
    torch.testing.assert_close(found(latents), resize_frames(whole, size).clamp(0, 1), rtol=1e-4, atol=1e-5)


def test_what_was_ordered_is_given_back_as_it_came() -> None:
    """Every output that has views is restored along them; what a network lacks stays so."""
    generator = torch.Generator().manual_seed(2)
    distance = torch.rand(6, 6, generator=generator)
    order = order_views(
        (distance + distance.T).fill_diagonal_(0).double().numpy(), lambda n: -(-max(0, n - 1) // 4) * 4 + 1
    )

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    input_views = {
        "depth": draw(2, 6, 3, 4), "depth_confidence": draw(2, 6, 3, 4), "points": draw(2, 6, 3, 4, 3),
        "points_confidence": draw(2, 6, 3, 4), "gaussian_features": draw(2, 6, 5, 3, 4), "gaussian_confidence": draw(2, 6, 3, 4),
        "rays": draw(2, 6, 2, 2, 6), "rays_confidence": draw(2, 6, 2, 2),
    }  # fmt: skip
    poses, lenses, encodings = draw(2, 6, 4, 4), draw(2, 6, 3, 3), draw(3, 2, 6, 9)
    sequence = Reconstruction(
        cameras=Cameras(order.arrange(poses, dim=1), order.arrange(lenses, dim=1)),
        pose_encodings=order.arrange(encodings, dim=2),
        **{name: order.arrange(values, dim=1) for name, values in input_views.items()},  # type: ignore[arg-type]
    )
    found = restored(sequence, order)
    for name, values in input_views.items():
        assert torch.equal(getattr(found, name), values), name
    assert torch.equal(found.cameras.world_to_camera, poses) and torch.equal(found.cameras.intrinsics, lenses)
    assert found.pose_encodings is not None and torch.equal(found.pose_encodings, encodings)
    bare = restored(replace(sequence, pose_encodings=None, rays=None, rays_confidence=None), order)
    assert bare.pose_encodings is None and bare.rays is None and torch.equal(bare.depth, input_views["depth"])


def test_decoding_first_needs_frames_of_the_size() -> None:
    network = tiny_network()
    decoder, latents = SequentialDecoder(network), torch.zeros(1, 4, 2, 2, 2, dtype=torch.float64)
    frames = clips(1)[0].frames[None]
    assert decoder.needs_rgb and decoder.geometry_needs_rgb
    torch.testing.assert_close(decoder(latents, SIZE, frames).depth, network.reconstruct(frames).depth)
    assert decoder(latents, SIZE, frames, with_gaussians=False).gaussians is None
    with pytest.raises(ValueError, match="decoding first needs the frames"):
        decoder(latents, SIZE)
    with pytest.raises(ValueError, match=r"frames of \(16, 16\) pixels; \(16, 24\) are needed"):
        decoder(latents, (16, 24), frames)


def test_layers_with_tokens_for_other_roles_are_refused() -> None:
    fit, spec = fitted()
    wrong = replace(fit, special_tokens=fit.special_tokens[:1])
    with pytest.raises(ValueError, match="has special tokens for 1 roles; those of AnySplat are 2: "):
        StitchedDecoder(tiny_network(), spec, wrong)


@pytest.mark.parametrize("missing", ["lora", "stitching_layer", "cls_token", "register_tokens", "mask_token"])
def test_a_published_file_needs_every_entry(tmp_path: Path, missing: str) -> None:
    content = published(anysplat(), 1, 3)
    del content[missing]
    torch.save(content, tmp_path / "decoder.pth")
    with pytest.raises(
        ValueError, match=r"decoder\.pth holds .*; allowed: a stitched decoder with lora, stitching_layer"
    ):
        load_released(tmp_path / "decoder.pth", anysplat(), (8, 8), (4, 4), 4, 1)
    torch.save([1, 2], tmp_path / "decoder.pth")
    with pytest.raises(ValueError, match="holds list; allowed: a stitched decoder"):
        load_released(tmp_path / "decoder.pth", anysplat(), (8, 8), (4, 4), 4, 1)


def test_published_factors_are_scaled_as_published_and_blocks_counted_from_the_third() -> None:
    """Where nobody says otherwise: two blocks replaced, alpha 32 over the rank of the factors."""
    import inspect

    parameters = inspect.signature(load_released).parameters
    assert parameters["first_block"].default == 2 and parameters["alpha"].default == 32


def test_networks_without_gaussians_are_compared_without_renderings() -> None:
    vggt, render = build("vggt").requires_grad_(False), renderer_for(CPU)
    found = clip_distances({"itself": vggt.reconstruct}, vggt, clips(1), CPU, render)["itself"]
    assert "rendered_l1" not in found and found["depth_absrel"] == [0.0]
