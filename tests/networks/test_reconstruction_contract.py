"""Contract of the reconstruction networks: stop anywhere, enter anywhere, same result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reconstruction_cases import GAUSSIAN_HEAD, assert_same, clip, tensors
from reconstruction_cases import TRUNK as SMALL

from vist3a.networks.anysplat import AnySplat, AnySplatConfig
from vist3a.networks.blocks.stitchable import StitchableNetwork
from vist3a.networks.blocks.voxelize import voxel_index
from vist3a.networks.vggt import VGGT, VGGTConfig
from vist3a.records import TokenState


def build(kind: str, **changes: Any) -> StitchableNetwork:
    torch.manual_seed(0)
    sizes = SMALL | changes
    if kind == "vggt":
        return VGGT(VGGTConfig(**sizes)).double()
    config = AnySplatConfig(**GAUSSIAN_HEAD | sizes)
    network = AnySplat(config).double()
    network.voxel_size = None
    return network


@pytest.fixture(params=["vggt", "anysplat"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_taps_may_be_neighbours(kind: str) -> None:
    network, frames = build(kind, taps=(0, 1, 2, 3)), clip((12, 20))
    with torch.no_grad():
        whole = network.reconstruct(frames)
        for state in network.tokens_at([point.name for point in network.stitch_points], frames).values():
            assert network.stitch_point(state.point).complete == (not state.taps)
            assert_same(whole, network.reconstruct_from(state, (12, 20), rgb=frames))


@pytest.mark.parametrize("depth", [4, 6, 9])
def test_encoder_blocks_in_turn_are_the_blocks_one_by_one(depth: int) -> None:
    network, frames = build("vggt", encoder_depth=depth), clip((12, 20))
    assert isinstance(network, VGGT)
    encoder = network.aggregator.patch_embed
    with torch.no_grad():
        x = encoder(frames.flatten(0, 1))
        expected = [x := block(x) for block in encoder.blocks]
        size, names = (12, 20), [f"encoder.{block:02d}" for block in range(depth)]
        states = network.tokens_at(names, frames)
        # Entered behind the first block, the groups are other ones.
        _, entered = network.run_from(states[names[0]], size, names)
    trained = network.tokens_at(names, frames.requires_grad_(True))
    for name, wanted in zip(names, expected, strict=True):
        for state in (states[name], entered[name], trained[name]):
            tokens = torch.cat([state.special_tokens, state.patch_tokens.flatten(2, 3)], dim=2).flatten(0, 1)
            torch.testing.assert_close(tokens, wanted, rtol=1e-12, atol=1e-12)
    assert trained[names[-1]].patch_tokens.requires_grad


def test_points_are_complete_up_to_the_frame_block_of_the_first_tap(kind: str) -> None:
    points = build(kind).stitch_points
    names = [point.name for point in points]
    complete = [point.name for point in points if point.complete]
    assert complete == names[: names.index("aggregator.frame.01") + 1]
    assert names[:4] == ["encoder.00", "encoder.01", "encoder.norm", "aggregator.frame.00"]
    assert names[-1] == "aggregator.global.05"


def test_one_trunk_pass_gives_states_and_reconstruction(kind: str) -> None:
    network, frames, size = build(kind), clip((12, 20)), (12, 20)
    with torch.no_grad():
        taps, states = network.trunk(frames, ["encoder.00", "aggregator.global.01"])
        assert set(taps) == {1, 2, 4, 5}
        assert_same(network.reconstruct(frames), network.heads(taps, size, frames))
        alone = network.tokens_at(["aggregator.global.01"], frames)["aggregator.global.01"]
        assert torch.equal(alone.patch_tokens, states["aggregator.global.01"].patch_tokens)
        later_taps, later = network.run_from(states["encoder.00"], size, ["aggregator.global.01"])
        assert torch.equal(later["aggregator.global.01"].taps[1], alone.taps[1])
        assert all(torch.equal(later_taps[depth], taps[depth]) for depth in taps)


def test_tokens_at_runs_nothing_behind_the_last_point(kind: str) -> None:
    network, frames = build(kind), clip((16, 16))
    calls: list[str] = []
    trunk = network.aggregator
    named = {"encoder": trunk.patch_embed.blocks, "frame": trunk.frame_blocks, "global": trunk.global_blocks}
    for name, blocks in named.items():
        for index, block in enumerate(blocks):
            block.register_forward_hook(lambda *_, label=f"{name}.{index}": calls.append(label))
    network.tokens_at(["aggregator.frame.01", "encoder.00"], frames)
    assert calls == ["encoder.0", "encoder.1", "frame.0", "global.0", "frame.1"]
    calls.clear()
    network.tokens_at(["encoder.00"], frames)
    assert calls == ["encoder.0"]
    assert network.tokens_at([], frames) == {}


def test_gradients_reach_frames_and_every_used_parameter(kind: str) -> None:
    network, frames = build(kind), clip((12, 16)).requires_grad_()
    result = network.reconstruct(frames)
    sum(value.mean() for value in tensors(result).values()).backward()  # type: ignore[union-attr]
    assert frames.grad is not None
    assert bool(frames.grad.isfinite().all())
    assert float(frames.grad.abs().max()) > 0
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {"aggregator.patch_embed.mask_token"}
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_gradient_checkpointing_changes_no_gradient(kind: str) -> None:
    network, frames = build(kind), clip((16, 16))
    gradients = []
    for checkpointing in (False, True):
        network.gradient_checkpointing = checkpointing
        network.zero_grad()
        network.reconstruct(frames).depth.mean().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-9) for name in gradients[0])


def test_head_chunk_has_no_effect(kind: str) -> None:
    network, frames = build(kind), clip((16, 16))
    with torch.no_grad():
        whole = network.reconstruct(frames)
        network.head_chunk = 2
        assert_same(whole, network.reconstruct(frames))


@pytest.mark.parametrize(
    "point", ["encoder.00", "encoder.01", "encoder.norm", "aggregator.frame.00", "aggregator.global.02"]
)
def test_drop_before_keeps_entry_at_the_point(kind: str, point: str, tmp_path: Path) -> None:
    network, frames, size = build(kind), clip((12, 16)), (12, 16)
    before = network.state_dict()
    with torch.no_grad():
        whole = network.reconstruct(frames)
        state = network.tokens_at([point], frames)[point]
        network.drop_before(point)
        assert_same(whole, network.reconstruct_from(state, size, rgb=frames))
        used = network.state_dict()
        assert all(torch.equal(value, before[key]) for key, value in used.items())
        network.save_pretrained(tmp_path)
        loaded = type(network).from_pretrained(tmp_path, torch.float64)
        if isinstance(loaded, AnySplat):
            loaded.voxel_size = None
        assert_same(whole, loaded.reconstruct_from(state, size, rgb=frames))
    taps = network.reconstruct_from(state, size, rgb=frames)
    sum(value.mean() for value in tensors(taps).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in network.parameters()), "an unused parameter was left"
    for call in (network.reconstruct, lambda x: network.tokens_at([point], x)):
        with pytest.raises(RuntimeError, match=f"before '{point}' were dropped"):
            call(frames)


def test_save_and_load_round_trip(kind: str, tmp_path: Path) -> None:
    network, frames = build(kind), clip((16, 16))
    network.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = type(network).from_pretrained(tmp_path, torch.float64)
    assert loaded.config == network.config
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    if isinstance(loaded, AnySplat):
        loaded.voxel_size = None
    with torch.no_grad():
        assert_same(network.reconstruct(frames), loaded.reconstruct(frames))
    half = type(network).from_pretrained(tmp_path, torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}


def test_loading_the_wrong_network_is_refused(tmp_path: Path) -> None:
    build("vggt").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a VGGT, not a AnySplat"):
        AnySplat.from_pretrained(tmp_path)


def test_public_state_dicts_must_fit(kind: str) -> None:
    network = build(kind)
    state = dict(network.state_dict())
    state["camera_head.token_norm.weight"] = state["camera_head.token_norm.weight"][:-1]
    state["surplus"] = state.pop("camera_head.token_norm.bias")
    with pytest.raises(ValueError, match=r"1 missing: camera_head.token_norm.bias; 1 unexpected: surplus; 1 of wrong"):
        network.load_public_state_dict(state)


def test_errors_name_the_problem(kind: str) -> None:
    network, frames = build(kind), clip((16, 16))
    state = network.tokens_at(["encoder.00"], frames)["encoder.00"]
    with pytest.raises(ValueError, match=r"unknown stitch point 'encoder.99'; allowed: encoder.00"):
        network.tokens_at(["encoder.99"], frames)
    with pytest.raises(ValueError, match="multiples of 4"):
        network.reconstruct(clip((16, 18)))
    with pytest.raises(ValueError, match="4x4 grid"):
        network.reconstruct_from(state, (16, 20), rgb=frames)
    with pytest.raises(ValueError, match="special tokens"):
        network.reconstruct_from(replace(state, special_tokens=state.special_tokens[:, :, 1:]), (16, 16), rgb=frames)
    late = network.tokens_at(["aggregator.global.01"], frames)["aggregator.global.01"]
    with pytest.raises(ValueError, match=r"taps of earlier depths, wrong or missing: 1 \(missing\)"):
        network.reconstruct_from(TokenState(late.point, late.patch_tokens, late.special_tokens), (16, 16), rgb=frames)


def test_image_is_asked_for_only_by_the_gaussian_head() -> None:
    network, frames = build("anysplat"), clip((16, 16))
    state = network.tokens_at(["encoder.norm"], frames)["encoder.norm"]
    with pytest.raises(ValueError, match="pass rgb"):
        network.reconstruct_from(state, (16, 16))
    assert network.reconstruct_from(state, (16, 16), with_gaussians=False).gaussians is None
    assert not VGGT.needs_rgb
    assert AnySplat.needs_rgb


def test_padded_voxels_are_finite_and_invisible() -> None:
    network = build("anysplat")
    assert isinstance(network, AnySplat)
    network.voxel_size = 0.2
    frames = clip((16, 16))
    frames[1] = frames[1, :1]
    gaussians = network.reconstruct(frames).gaussians
    assert gaussians is not None
    counts = []
    for scene in (0, 1):
        alone = network.reconstruct(frames[scene : scene + 1]).gaussians
        assert alone is not None
        count = alone.means.shape[1]
        counts.append(count)
        for key, value in tensors(gaussians).items():
            assert bool(value.isfinite().all())
            assert torch.allclose(value[scene, :count], getattr(alone, key)[0], rtol=1e-9), key
        assert bool((gaussians.opacities[scene, count:] == 0).all())
        assert bool((gaussians.rotations[scene].norm(dim=-1) - 1).abs().max() < 1e-6)
    assert counts[0] != counts[1]
    assert max(counts) == gaussians.means.shape[1]
    gaussians.means.sum().backward()


def test_voxel_ranks_are_lexicographic_even_for_far_outliers() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(-3, 3, (500, 3), generator=generator)
    cells[0], cells[1] = torch.tensor([2**40, -(2**40), 0]), torch.tensor([-(2**40), 2**40, 1])
    assert torch.equal(voxel_index(cells), torch.unique(cells, dim=0, return_inverse=True)[1])


def test_half_precision_trunk_feeds_wide_heads(kind: str) -> None:
    network, frames = build(kind).float(), clip((16, 16)).float()
    with torch.no_grad():
        reference = network.reconstruct(frames)
        network.aggregator.bfloat16()
        mixed = network.reconstruct(frames)
        whole = network.bfloat16().reconstruct(frames)
    for result in (mixed, whole):
        assert all(value.dtype == torch.float32 for value in tensors(result).values())
        assert float((result.depth.log() - reference.depth.log()).abs().max()) < 0.1


def test_config_survives_json_and_refuses_typos() -> None:
    config = AnySplatConfig(**SMALL)
    assert AnySplatConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown VGGTConfig fields: embed_dims"):
        VGGTConfig.from_dict({"embed_dims": 8})
    with pytest.raises(ValueError, match="must ascend"):
        VGGTConfig(**SMALL | {"taps": (1, 2, 4, 9)})
