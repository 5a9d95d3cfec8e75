"""MV-DUSt3R(+): stop anywhere, enter anywhere, same result; roles of the views; what the record derives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reconstruction_cases import MV_DUST3R as SMALL
from reconstruction_cases import assert_same, clip, tensors
from reconstruction_cases import build as build_any

from vist3a.geometry.projection import unproject_depth
from vist3a.networks.blocks.mvdust3r_config import MVDust3rConfig
from vist3a.networks.blocks.mvdust3r_decoder import DecoderBlock, other_members, slot_order
from vist3a.networks.blocks.mvdust3r_heads import points_and_confidence
from vist3a.networks.blocks.rope import grid_rotation
from vist3a.networks.mvdust3r import MVDust3r
from vist3a.records import Cameras


def build(references: int, **changes: Any) -> MVDust3r:
    network = build_any("mvdust3r", references=references, **changes)
    assert isinstance(network, MVDust3r)
    return network


@pytest.fixture(params=[1, 3], ids=["mvdust3r", "plus"])
def references(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.mark.parametrize("views", [1, 2])
def test_few_views(views: int) -> None:
    network, frames = build(1), clip((12, 8), views=views)
    with torch.no_grad():
        whole = network.reconstruct(frames)
        for state in network.tokens_at([point.name for point in network.stages], frames).values():
            assert_same(whole, network.reconstruct_from(state, (12, 8), rgb=frames))
    assert torch.equal(whole.cameras.world_to_camera[:, 0], torch.eye(4).double().expand(2, 4, 4))


def test_fewer_views_than_references_are_refused() -> None:
    network, frames = build(3), clip((12, 8), views=2)
    assert network.tokens_at(["decoder.embed"], frames)["decoder.embed"].patch_tokens.shape == (2, 2, 3, 2, 8)
    with pytest.raises(ValueError, match="2 views; this network has 3 reference views"):
        network.reconstruct(frames)


def test_checkpoints_with_color_bands_are_read_and_their_coefficients_used(tmp_path: Path) -> None:
    network, frames = build(1, sh_degree=1, input_colours=False), clip((12, 8), views=2)
    torch.save({"model": network.state_dict()}, tmp_path / "bands.pth")
    plain = replace(network.config, sh_degree=0, input_colours=True)
    read = MVDust3r.from_public_file(tmp_path / "bands.pth", plain, torch.float64)
    assert (read.config.sh_degree, read.config.input_colours) == (1, False)
    assert read.downstream_GS_head[0].mlp_rgb[2].weight.shape[0] == 12 * network.config.patch_size**2
    with torch.no_grad():
        result = read.reconstruct(frames)
        assert_same(result, network.reconstruct(frames))
    assert result.gaussians is not None
    assert result.gaussian_features is not None
    _, _, channels, height, width = result.gaussian_features.shape
    assert channels == 12 + 8
    for scene, view, row, column in ((0, 1, 3, 5), (1, 0, 11, 0)):
        number = (view * height + row) * width + column
        raw = result.gaussian_features[scene, view, :, row, column]
        for band in range(4):
            torch.testing.assert_close(result.gaussians.harmonics[scene, number, band], raw[3 * band : 3 * band + 3])
    with pytest.raises(ValueError, match="input_colours has one color for a Gaussian"):
        build(1, sh_degree=1)


def test_stitch_points_are_named_in_order(references: int) -> None:
    points = build(references).stitch_points
    assert [point.name for point in points] == [
        *("encoder.00", "encoder.01", "encoder.norm", "decoder.embed"),
        *("decoder.layer.00", "decoder.layer.01", "decoder.layer.02"),
    ]
    assert [point.kind for point in points] == ["encoder"] * 3 + ["aggregator"] * 4
    assert [point.width for point in points] == [16, 16, 16, 8] + [8 * references] * 3


def test_one_trunk_pass_gives_states_and_reconstruction(references: int) -> None:
    network, frames, size = build(references), clip((12, 20)), (12, 20)
    with torch.no_grad():
        taps, states = network.trunk(frames, ["encoder.00", "decoder.layer.01"])
        assert set(taps) == {2}
        assert_same(network.reconstruct(frames), network.heads(taps, size, frames))
        alone = network.tokens_at(["decoder.layer.01"], frames)["decoder.layer.01"]
        assert torch.equal(alone.patch_tokens, states["decoder.layer.01"].patch_tokens)
        later_taps, later = network.run_from(states["encoder.00"], size, ["decoder.layer.01"])
        assert torch.equal(later["decoder.layer.01"].patch_tokens, alone.patch_tokens)
        assert torch.equal(later_taps[2], taps[2])


def test_tokens_at_runs_nothing_behind_the_last_point(references: int) -> None:
    network, frames = build(references), clip((16, 16))
    calls: list[str] = []
    for name in ("enc_blocks", "dec_blocks", "dec_blocks2"):
        for index, block in enumerate(getattr(network, name)):
            block.register_forward_hook(lambda *_, label=f"{name}.{index}": calls.append(label))
    network.tokens_at(["decoder.layer.00", "encoder.00"], frames)
    assert calls == ["enc_blocks.0", "enc_blocks.1", "dec_blocks.0", "dec_blocks2.0"]
    calls.clear()
    network.tokens_at(["encoder.00"], frames)
    assert calls == ["enc_blocks.0"]
    assert network.tokens_at([], frames) == {}


def test_a_result_does_not_depend_on_the_batch_or_on_the_chunk(references: int) -> None:
    network, frames = build(references).train(), clip((12, 16), batch=3, views=4)
    with torch.no_grad():
        whole = network.reconstruct(frames)
        alone = network.reconstruct(frames[1:2])
        network.head_chunk = 2
        assert_same(whole, network.reconstruct(frames))
    for key, value in tensors(alone).items():
        same = tensors(whole)[key][:, 1:2] if key == "pose_encodings" else tensors(whole)[key][1:2]
        assert torch.allclose(value, same, rtol=1e-6, atol=1e-8), key


@pytest.mark.parametrize(
    ("references", "order"), [(1, (0, 3, 1, 4, 2)), (3, (0, 1, 2, 4, 3)), (3, (0, 2, 1, 3, 4)), (3, (0, 2, 1, 4, 3))]
)
def test_views_of_the_same_role_may_change_places(references: int, order: tuple[int, ...]) -> None:
    network, frames, index = build(references), clip((12, 8), views=5), list(order)
    with torch.no_grad():
        result, moved = network.reconstruct(frames), network.reconstruct(frames[:, index])
    for key in ("points", "depth", "points_confidence", "gaussian_features"):
        assert torch.allclose(getattr(result, key)[:, index], getattr(moved, key), rtol=1e-6, atol=1e-8), key
    assert torch.allclose(result.cameras.centers[:, index], moved.cameras.centers, atol=1e-6)


@pytest.mark.parametrize(("references", "order"), [(1, (1, 0, 2, 3, 4)), (3, (0, 1, 3, 2, 4))])
def test_views_of_other_roles_may_not(references: int, order: tuple[int, ...]) -> None:
    network, frames, index = build(references), clip((12, 8), views=5), list(order)
    with torch.no_grad():
        result, moved = network.reconstruct(frames), network.reconstruct(frames[:, index])
    assert float((result.points[:, index] - moved.points).abs().max()) > 1e-3


def test_a_decoder_block_is_attention_to_the_others_one_by_one() -> None:
    torch.manual_seed(2)
    block, members = DecoderBlock(8, 2, 2.0).double(), torch.randn(2, 4, 6, 8, dtype=torch.float64)
    rotation = grid_rotation(2, 3, 0, 4, 100.0, members)
    found = block(members, slice(1, None), rotation)
    assert other_members(3).tolist() == [[1, 2], [0, 2], [0, 1]]
    assert other_members(1).shape == (1, 0)
    assert slot_order(3, 4).tolist() == [[0, 1, 2, 3], [1, 0, 2, 3], [2, 1, 0, 3]]
    for target in (1, 2, 3):
        kept = [target, *(member for member in range(4) if member != target)]
        assert torch.allclose(block(members[:, kept], slice(0, 1), rotation)[:, 0], found[:, target - 1])
    strangers = members.clone()
    strangers[:, 0] = torch.randn(2, 6, 8)
    assert not torch.allclose(block(strangers, slice(1, None), rotation), found)


def test_gradients_reach_frames_and_every_parameter(references: int) -> None:
    network, frames = build(references), clip((12, 16)).requires_grad_()
    result = network.reconstruct(frames)
    torch.stack([value.mean() for value in tensors(result).values()]).sum().backward()
    assert frames.grad is not None
    assert bool(frames.grad.isfinite().all())
    assert float(frames.grad.abs().max()) > 0
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)
    # In the last layer, the other paths' tokens are never read again, but their weights are shared with the first's.
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
    assert not result.cameras.world_to_camera.requires_grad
    assert result.depth.requires_grad


def test_gradient_checkpointing_changes_no_gradient(references: int) -> None:
    network, frames = build(references), clip((16, 16))
    gradients = []
    for checkpointing in (False, True):
        network.gradient_checkpointing = checkpointing
        network.zero_grad()
        network.reconstruct(frames).points.mean().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-9) for name in gradients[0])


@pytest.mark.parametrize("point", ["encoder.00", "encoder.01", "encoder.norm", "decoder.embed", "decoder.layer.01"])
def test_drop_before_keeps_entry_at_the_point(references: int, point: str, tmp_path: Path) -> None:
    network, frames, size = build(references), clip((12, 16)), (12, 16)
    before = network.state_dict()
    with torch.no_grad():
        whole = network.reconstruct(frames)
        state = network.tokens_at([point], frames)[point]
        network.drop_before(point)
        assert_same(whole, network.reconstruct_from(state, size, rgb=frames))
        used = network.state_dict()
        assert len(used) < len(before)
        assert all(torch.equal(value, before[key]) for key, value in used.items())
        network.save_pretrained(tmp_path)
        loaded = MVDust3r.from_pretrained(tmp_path, torch.float64)
        assert_same(whole, loaded.reconstruct_from(state, size, rgb=frames))
    result = tensors(network.reconstruct_from(state, size, rgb=frames))
    torch.stack([value.mean() for value in result.values()]).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters()), "an unused parameter was left"
    for call in (network.reconstruct, lambda x: network.tokens_at([point], x)):
        with pytest.raises(RuntimeError, match=f"before '{point}' were dropped"):
            call(frames)


def test_save_and_load_round_trip(references: int, tmp_path: Path) -> None:
    network, frames = build(references, input_colours=False), clip((16, 16))
    network.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = MVDust3r.from_pretrained(tmp_path, torch.float64)
    assert loaded.config == network.config
    with torch.no_grad():
        assert_same(network.reconstruct(frames), loaded.reconstruct(frames))
    half = MVDust3r.from_pretrained(tmp_path, torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        result = half.reconstruct(frames.float())
    assert all(value.dtype == torch.float32 for value in tensors(result).values())


def test_autocast_leaves_the_heads_wide(references: int) -> None:
    network, frames = build(references).float(), clip((16, 16)).float()
    with torch.no_grad():
        reference = network.reconstruct(frames)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = network.reconstruct(frames)
    assert all(value.dtype == torch.float32 for value in tensors(mixed).values())
    assert float((mixed.points - reference.points).abs().mean()) < 0.05 * float(reference.points.abs().mean())


def test_only_fitting_weights_are_loaded(tmp_path: Path) -> None:
    one, plus = build(1), build(3)
    with pytest.raises(ValueError, match=r"missing: dec_same_view_blocks.0"):
        plus.load_public_state_dict(one.state_dict())
    with pytest.raises(ValueError, match=r"unexpected: dec_same_view_blocks.0"):
        one.load_public_state_dict(plus.state_dict())
    fresh = MVDust3r(replace(one.config)).double()
    fresh.load_public_state_dict(dict(one.state_dict()) | {"mask_token": torch.zeros(1, 1, 8)})
    assert all(torch.equal(value, one.state_dict()[key]) for key, value in fresh.state_dict().items())
    one.save_pretrained(tmp_path)
    header = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(header.replace('"MVDust3r"', '"VGGT"'))
    with pytest.raises(ValueError, match="holds a VGGT, not a MVDust3r"):
        MVDust3r.from_pretrained(tmp_path)


def test_errors_name_the_problem(references: int) -> None:
    network, frames = build(references), clip((16, 16))
    state = network.tokens_at(["decoder.layer.00"], frames)["decoder.layer.00"]
    with pytest.raises(ValueError, match=r"unknown stitch point 'aggregator.frame.00'; allowed: encoder.00"):
        network.tokens_at(["aggregator.frame.00"], frames)
    with pytest.raises(ValueError, match="multiples of 4"):
        network.reconstruct(clip((16, 18)))
    with pytest.raises(ValueError, match="4x4 grid"):
        network.reconstruct_from(state, (16, 20), rgb=frames)
    narrow = replace(state, patch_tokens=state.patch_tokens[..., 1:], special_tokens=state.special_tokens[..., 1:])
    with pytest.raises(ValueError, match="expected width"):
        network.reconstruct_from(narrow, (16, 16), rgb=frames)
    with pytest.raises(ValueError, match="reads the image: pass rgb"):
        network.reconstruct_from(state, (16, 16))
    assert network.reconstruct(frames, with_gaussians=False).gaussians is None
    assert MVDust3r.needs_rgb


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 12}, "embed_dim 12 must be a multiple of 8"),
        ({"decoder_dim": 10}, "decoder_dim 10 must be a multiple of 4"),
        ({"references": 0}, "references 0 must be at least 1"),
        ({"scale_limits": (2e-3, 1e-3)}, "must be two ascending positive numbers"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MVDust3rConfig(**SMALL | changes)


def test_config_survives_json_and_refuses_typos() -> None:
    config = MVDust3rConfig(**SMALL, references=2, scale_limits=(1e-3, 1e-2))
    assert MVDust3rConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown MVDust3rConfig fields: n_ref"):
        MVDust3rConfig.from_dict({"n_ref": 4})


def test_gaussians_follow_the_published_rules() -> None:
    network, frames = build(1), clip((12, 16))
    with torch.no_grad():
        result = network.reconstruct(frames)
        predicted = MVDust3r(replace(network.config, input_colours=False)).double().gaussians
        assert result.gaussian_features is not None
        assert result.gaussians is not None
        own = predicted(result.points, result.gaussian_features, frames)
    colours = 0.28209479177387814 * result.gaussians.harmonics[:, :, 0] + 0.5
    assert torch.allclose(colours, frames.movedim(2, -1).flatten(1, 3))
    raw = result.gaussian_features.movedim(2, -1).flatten(1, 3)
    assert torch.allclose(0.28209479177387814 * own.harmonics[:, :, 0] + 0.5, (raw[..., :3] + 1) / 2)
    unit = result.points.norm(dim=-1).mean(dim=(1, 2, 3))[:, None, None]
    relative = result.gaussians.scales / unit
    assert float(relative.min()) >= 1e-4 * (1 - 1e-9)
    assert float(relative.max()) <= 4e-3 * (1 + 1e-9)
    free = (0.1 * raw[..., 4:7] / unit > 1e-4) & (0.1 * raw[..., 4:7] / unit < 4e-3)
    assert bool(free.any())
    assert torch.allclose(result.gaussians.scales[free], 0.1 * raw[..., 4:7][free])
    assert torch.equal(result.gaussians.means, result.points.flatten(1, 3))


def test_exact_pointmaps_give_cameras_and_depth() -> None:
    """Raw maps whose points are those of real cameras; the heads' output stage must find these cameras and depths."""
    generator = torch.Generator().manual_seed(5)
    views, size = 4, (12, 16)
    angle = torch.linspace(0, 0.6, views).double()
    pose = torch.eye(4).double().repeat(1, views, 1, 1)
    pose[0, :, 0, 0] = pose[0, :, 2, 2] = angle.cos()
    pose[0, :, 0, 2], pose[0, :, 2, 0] = angle.sin(), -angle.sin()
    pose[0, :, :3, 3] = angle[:, None] * torch.tensor([0.5, -0.2, 0.3]).double()
    k = torch.tensor([[18.0, 0.0, 8.0], [0.0, 18.0, 6.0], [0.0, 0.0, 1.0]]).double()
    cameras = Cameras(pose, k.repeat(1, views, 1, 1))
    depth = 2 + torch.rand(1, views, *size, generator=generator, dtype=torch.float64)
    points = unproject_depth(depth, cameras)
    length = points.norm(dim=-1, keepdim=True)
    raw = torch.cat([points / length * torch.log1p(length), torch.zeros_like(length)], dim=-1).movedim(-1, 2)
    assert torch.allclose(points_and_confidence(raw)[0], points)

    network = build(1)
    network.raw_maps = lambda tokens, rgb, with_gaussians: (raw, None)  # type: ignore[method-assign, assignment]
    result = network.reconstruct(clip(size, 1, views), with_gaussians=False)
    assert torch.allclose(result.cameras.world_to_camera, pose, atol=1e-8)
    assert torch.allclose(result.cameras.intrinsics, cameras.intrinsics, atol=1e-8)
    assert torch.allclose(result.depth, depth, atol=1e-8)
    assert bool((result.points_confidence == 2).all())
    assert torch.equal(result.depth_confidence, result.points_confidence)
