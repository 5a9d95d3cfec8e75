"""Contract of Depth Anything 3: stop anywhere, enter anywhere, same result; views keep their order."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reconstruction_cases import DEPTH_ANYTHING as SMALL
from reconstruction_cases import assert_same, clip, tensors
from reconstruction_cases import build as build_any

from vist3a.networks.blocks.da3_reference import choose_reference
from vist3a.networks.depth_anything3 import DepthAnything3, DepthAnything3Config, normalise_cameras
from vist3a.networks.vggt import VGGT
from vist3a.records import Cameras, Reconstruction, TokenState

LAST_BEFORE = "encoder.02"


def build(kind: str, **changes: Any) -> DepthAnything3:
    network = build_any("da3-giant" if kind == "gaussians" else "da3", **changes)
    assert isinstance(network, DepthAnything3)
    return network


def known_cameras(batch: int, views: int, size: tuple[int, int]) -> Cameras:
    generator = torch.Generator().manual_seed(2)
    rotation = torch.linalg.qr(torch.randn(batch, views, 3, 3, generator=generator, dtype=torch.float64)).Q
    rotation = rotation * torch.det(rotation).sign()[..., None, None]
    pose = torch.eye(4, dtype=torch.float64).expand(batch, views, 4, 4).clone()
    pose[..., :3, :3] = rotation
    pose[..., :3, 3] = torch.randn(batch, views, 3, generator=generator, dtype=torch.float64)
    k = torch.tensor([[size[1], 0.0, size[1] / 2], [0.0, size[1], size[0] / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return normalise_cameras(Cameras(pose, k.expand(batch, views, 3, 3)))[0]


def views_of(result: Reconstruction, order: list[int]) -> Reconstruction:
    """The same reconstruction with its views in another order (Gaussians left out)."""
    values = {
        field.name: getattr(result, field.name)[:, order]
        for field in fields(result)
        if field.name.startswith(("depth", "points", "rays"))
    }
    return Reconstruction(cameras=result.cameras[:, order], pose_encodings=result.pose_encodings[:, :, order], **values)


@pytest.fixture(params=["plain", "gaussians"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("posed", [False, True])
@pytest.mark.parametrize(("size", "batch", "views"), [((12, 20), 3, 1), ((8, 12), 2, 4)])
def test_the_reference_view_and_known_cameras_enter_anywhere(
    kind: str, size: tuple[int, int], batch: int, views: int, posed: bool
) -> None:
    network, frames = build(kind), clip(size, batch, views)
    cameras = known_cameras(batch, views, size) if posed else None
    points = [point.name for point in network.stitch_points]
    rows, columns = network.token_grid(*size)
    with torch.no_grad():
        whole = network.reconstruct(frames, cameras=cameras)
        assert (whole.gaussians is None) == (kind == "plain")
        states = network.tokens_at(points, frames, cameras=cameras)
        assert list(states) == points
        for index, point in enumerate(network.stitch_points):
            state = states[point.name]
            assert state.patch_tokens.shape == (batch, views, rows, columns, point.width)
            assert state.special_tokens.shape == (batch, views, 1, point.width)
            chosen = index >= network.config.alt_start - 1 and not posed
            assert (state.reference is not None) == chosen
            assert point.complete == (not state.taps and point.name != LAST_BEFORE)
            assert_same(whole, network.reconstruct_from(state, size, rgb=frames, cameras=cameras))


def test_known_cameras_change_the_reconstruction(kind: str) -> None:
    network, frames = build(kind), clip()
    with torch.no_grad():
        free, posed = network.reconstruct(frames), network.reconstruct(frames, cameras=known_cameras(2, 3, (12, 20)))
    assert float((free.depth / posed.depth - 1).abs().max()) > 1e-2


def test_names_and_complete_points() -> None:
    network = build("plain")
    points = network.stitch_points
    assert [point.name for point in points] == [
        "encoder.00",
        "encoder.01",
        LAST_BEFORE,
        "aggregator.global.03",
        "aggregator.frame.04",
        "aggregator.global.05",
        "aggregator.frame.06",
        "aggregator.global.07",
        "aggregator.frame.08",
    ]
    assert [point.kind for point in points] == ["encoder"] * 3 + ["aggregator"] * 6
    assert [index for index, point in enumerate(points) if point.complete] == [0, 1, 3, 4]
    for strategy in ("first", "middle"):
        network.reference_strategy = strategy
        assert [index for index, point in enumerate(network.stitch_points) if point.complete] == [0, 1, 2, 3, 4]


def test_the_reference_must_be_known_where_it_cannot_be_chosen_any_more() -> None:
    network, frames, size = build("plain"), clip(), (12, 20)
    with torch.no_grad():
        state = network.tokens_at([LAST_BEFORE], frames)[LAST_BEFORE]
        bare = replace(state, reference=None)
        with pytest.raises(ValueError, match=r"encoder.02: the reference view was chosen before this point"):
            network.reconstruct_from(bare, size)
        network.reference_strategy = "first"
        assert_same(network.reconstruct(frames), network.reconstruct_from(bare, size))
        other = network.reconstruct_from(replace(state, reference=torch.tensor([1, 1])), size)
        assert float((other.depth - network.reconstruct(frames).depth).abs().max()) > 1e-4
        # Behind the alternation's start the tokens themselves know.
        late = network.tokens_at(["aggregator.frame.04"], frames)["aggregator.frame.04"]
        network.reference_strategy = "saddle_balanced"
        assert_same(network.reconstruct_from(late, size), network.reconstruct_from(replace(late, reference=None), size))


@pytest.mark.parametrize("strategy", ["saddle_balanced", "first"])
def test_order_of_views_does_not_matter(strategy: str) -> None:
    """Of all views where their content chooses the reference, of all but the first where that is the reference."""
    network, frames = build("plain", reference_strategy=strategy), clip(views=5)
    order = [3, 1, 4, 0, 2] if strategy == "saddle_balanced" else [0, 3, 1, 4, 2]
    with torch.no_grad():
        chosen = network.tokens_at([LAST_BEFORE], frames)[LAST_BEFORE].reference
        assert chosen is not None
        assert strategy == "first" or len(set(chosen.tolist())) == 2, "two scenes, two reference views"
        assert_same(views_of(network.reconstruct(frames), order), network.reconstruct(frames[:, order]))
        network.reference_strategy = "first"
        moved = views_of(network.reconstruct(frames), [1, 0, 2, 3, 4])
        assert float((moved.depth - network.reconstruct(frames[:, [1, 0, 2, 3, 4]]).depth).abs().max()) > 1e-4


def test_a_scene_does_not_depend_on_its_batch(kind: str) -> None:
    network, frames = build(kind), clip(batch=3, views=4)
    cameras = known_cameras(3, 4, (12, 20))
    with torch.no_grad():
        for known in (None, cameras):
            whole = tensors(network.reconstruct(frames, cameras=known))
            for scene in range(3):
                part = slice(scene, scene + 1)
                alone = tensors(network.reconstruct(frames[part], cameras=None if known is None else known[part]))
                for key, value in alone.items():
                    scenes = whole[key].transpose(0, 1) if key == "pose_encodings" else whole[key]
                    own = value.transpose(0, 1) if key == "pose_encodings" else value
                    assert torch.allclose(scenes[part], own, rtol=1e-8, atol=1e-10), key


def test_reference_view_of_few_or_equal_views() -> None:
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    assert choose_reference(tokens, "middle").tolist() == [2, 2]
    assert choose_reference(tokens, "first").tolist() == [0, 0]
    for strategy in ("saddle_balanced", "middle"):
        assert choose_reference(tokens[:, :2], strategy).tolist() == [0, 0]
    assert choose_reference(tokens[:, :1].expand(-1, 4, -1), "saddle_balanced").tolist() == [0, 0]


def test_tokens_at_runs_nothing_behind_the_last_point() -> None:
    network, frames = build("plain"), clip()
    calls: list[int] = []
    for index, block in enumerate(network.backbone.pretrained.blocks):
        block.register_forward_hook(lambda *_, label=index: calls.append(label))
    states = network.tokens_at(["aggregator.global.03", "encoder.00"], frames)
    assert calls == [0, 1, 2, 3]
    assert set(states) == {"aggregator.global.03", "encoder.00"}
    assert network.tokens_at([], frames) == {}


def test_one_trunk_pass_gives_states_and_reconstruction(kind: str) -> None:
    network, frames, size, late = build(kind), clip(), (12, 20), "aggregator.global.07"
    with torch.no_grad():
        taps, states = network.trunk(frames, ["encoder.00", late])
        assert set(taps) == {4, 5, 7, 8}
        assert_same(network.reconstruct(frames), network.heads(taps, size, frames))
        assert {depth: tap.shape[-1] for depth, tap in states[late].taps.items()} == {4: 32, 5: 32, 7: 16}
        later_taps, later = network.run_from(states["encoder.00"], size, [late])
        assert torch.equal(later[late].taps[7], states[late].taps[7])
        assert all(torch.equal(later_taps[depth], taps[depth]) for depth in taps)


@pytest.mark.parametrize("posed", [False, True])
def test_gradients_reach_frames_and_every_used_parameter(kind: str, posed: bool) -> None:
    network, frames = build(kind), clip().requires_grad_()
    result = network.reconstruct(frames, cameras=known_cameras(2, 3, (12, 20)) if posed else None)
    sum(value.mean() for value in tensors(result).values()).backward()  # type: ignore[union-attr]
    assert frames.grad is not None
    assert bool(frames.grad.isfinite().all())
    assert float(frames.grad.abs().max()) > 0
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    encoder = {name for name, _ in network.named_parameters() if name.startswith("cam_enc.")}
    assert without == ({"backbone.pretrained.camera_token"} if posed else encoder)
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    network, frames = build("plain"), clip()
    gradients = []
    for checkpointing in (False, True):
        network.gradient_checkpointing = checkpointing
        network.zero_grad()
        network.reconstruct(frames).depth.mean().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    assert network.gradient_checkpointing
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-9) for name in gradients[0])


def test_head_chunk_has_no_effect(kind: str) -> None:
    network, frames = build(kind), clip()
    with torch.no_grad():
        whole = network.reconstruct(frames)
        network.head_chunk = 4
        assert_same(whole, network.reconstruct(frames))


@pytest.mark.parametrize("point", ["encoder.00", LAST_BEFORE, "aggregator.global.03", "aggregator.frame.08"])
def test_drop_before_keeps_entry_at_the_point(kind: str, point: str, tmp_path: Path) -> None:
    network, frames, size = build(kind), clip(), (12, 20)
    before = network.state_dict()
    with torch.no_grad():
        whole = network.reconstruct(frames)
        state = network.tokens_at([point], frames)[point]
        network.drop_before(point)
        assert_same(whole, network.reconstruct_from(state, size, rgb=frames))
        used = network.state_dict()
        assert all(torch.equal(value, before[key]) for key, value in used.items())
        network.save_pretrained(tmp_path)
        loaded = DepthAnything3.from_pretrained(tmp_path, torch.float64)
        assert_same(whole, loaded.reconstruct_from(state, size, rgb=frames))
    taps = network.reconstruct_from(state, size, rgb=frames)
    sum(value.mean() for value in tensors(taps).values()).backward()  # type: ignore[union-attr]
    left = {name for name, p in network.named_parameters() if p.grad is None and not name.startswith("cam_enc.")}
    assert not left, "an unused parameter was left"
    for call in (network.reconstruct, lambda x: network.tokens_at([point], x)):
        with pytest.raises(RuntimeError, match=f"before '{point}' were dropped"):
            call(frames)


def test_save_and_load_round_trip(kind: str, tmp_path: Path) -> None:
    network, frames = build(kind), clip()
    network.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = DepthAnything3.from_pretrained(tmp_path, torch.float64)
    assert loaded.config == network.config
    with torch.no_grad():
        assert_same(network.reconstruct(frames), loaded.reconstruct(frames))
    with pytest.raises(ValueError, match="holds a DepthAnything3, not a VGGT"):
        VGGT.from_pretrained(tmp_path)


def test_public_state_dicts_must_fit() -> None:
    network = build("plain")
    unread = {"model.head.scratch.output_conv1_aux.0.0.weight": torch.zeros(1)}
    state = {f"model.{key}": value for key, value in network.state_dict().items()} | unread
    network.load_public_state_dict(state)
    state["model.surplus"] = state.pop("model.cam_dec.fc_t.bias")
    with pytest.raises(
        ValueError, match=r"not fit DepthAnything3: 1 missing: cam_dec.fc_t.bias; 1 unexpected: surplus"
    ):
        network.load_public_state_dict(state)


def test_errors_name_the_problem() -> None:
    network, frames = build("gaussians"), clip((16, 16))
    state = network.tokens_at(["encoder.00"], frames)["encoder.00"]
    with pytest.raises(ValueError, match=r"unknown stitch point 'encoder.99'; allowed: encoder.00"):
        network.tokens_at(["encoder.99"], frames)
    with pytest.raises(ValueError, match="multiples of 4"):
        network.reconstruct(clip((16, 18)))
    with pytest.raises(ValueError, match="4x4 grid"):
        network.reconstruct_from(state, (16, 20), rgb=frames)
    with pytest.raises(ValueError, match="pass rgb"):
        network.reconstruct_from(state, (16, 16))
    assert network.reconstruct_from(state, (16, 16), with_gaussians=False).gaussians is None
    late = network.tokens_at(["aggregator.global.05"], frames)["aggregator.global.05"]
    with pytest.raises(ValueError, match=r"taps of earlier depths, wrong or missing: 4 \(missing\), 5 \(missing\)"):
        network.reconstruct_from(TokenState(late.point, late.patch_tokens, late.special_tokens), (16, 16), rgb=frames)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"taps": (3, 4, 5, 8)}, r"start behind alt_start \(3\) and end at the last block \(8\)"),
        ({"taps": (4, 5, 6, 7)}, r"end at the last block \(8\)"),
        ({"alt_start": 9}, "alt_start 9 must lie in 1..8"),
        ({"embed_dim": 20}, r"multiple of 4 \* num_heads \(8"),
        ({"sh_degree": 5}, "sh_degree 5 must lie in 0..4"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthAnything3Config(**SMALL | change)


@pytest.mark.parametrize(("field", "value"), [("mlp", "relu"), ("reference_strategy", "last")])
def test_unknown_choices_are_refused(field: str, value: str) -> None:
    # A TypeError where types are checked at run time.
    with pytest.raises((ValueError, TypeError), match=f"{field}.*'{value}'"):
        DepthAnything3Config(**SMALL | {field: value})


def test_config_survives_json_and_refuses_typos() -> None:
    config = DepthAnything3Config(**SMALL)
    assert DepthAnything3Config.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown DepthAnything3Config fields: embed_dims"):
        DepthAnything3Config.from_dict({"embed_dims": 8})


def test_half_precision_trunk_feeds_wide_heads(kind: str) -> None:
    network, frames = build(kind, reference_strategy="first").float(), clip((16, 16)).float()
    with torch.no_grad():
        reference = network.reconstruct(frames)
        network.backbone.bfloat16()
        mixed = network.reconstruct(frames)
        whole = network.bfloat16().reconstruct(frames)
    for result in (mixed, whole):
        assert all(value.dtype == torch.float32 for value in tensors(result).values())
        assert float((result.depth.log() - reference.depth.log()).abs().max()) < 0.5


def test_normalised_cameras_are_relative_and_of_unit_distance() -> None:
    cameras = known_cameras(2, 5, (12, 20))
    assert torch.allclose(cameras.world_to_camera[:, 0], torch.eye(4, dtype=torch.float64).expand(2, 4, 4))
    distance = cameras.centers.norm(dim=-1).median(dim=-1).values
    assert torch.allclose(distance, torch.ones_like(distance))
    again, divisor = normalise_cameras(cameras)
    assert torch.allclose(again.world_to_camera, cameras.world_to_camera)
    assert torch.allclose(divisor, torch.ones_like(divisor))
    still = normalise_cameras(cameras[:, :1])[1]
    assert still.tolist() == [0.1, 0.1], "cameras in one place are not blown up"
