"""The tracker of VGGT: an optional head, its fast parts against slow twins, independence of batch and chunk."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vist3a.networks.blocks.track_correlation import (
    CorrelationPyramid,
    motion_embedding,
    position_embedding,
    sample_map,
)
from vist3a.networks.blocks.track_transformer import TrackBlock
from vist3a.networks.vggt import VGGT, VGGTConfig
from vist3a.records import Tracks

SMALL: dict[str, Any] = {
    "img_size": 16,
    "patch_size": 4,
    "embed_dim": 16,
    "num_heads": 2,
    "encoder_depth": 1,
    "encoder_heads": 2,
    "aggregator_depth": 4,
    "mlp_ratio": 2.0,
    "num_registers": 1,
    "camera_depth": 1,
    "camera_heads": 2,
    "dpt_features": 8,
    "dpt_channels": (8, 12, 16, 20),
    "taps": (0, 1, 2, 3),
    "layer_scale_init": 0.5,
    "aggregator_layer_scale_init": 0.5,
    "with_tracker": True,
    "track_features": 8,
    "track_levels": 2,
    "track_radius": 1,
    "track_width": 16,
    "track_depth": 1,
    "track_iterations": 2,
}


def build(**changes: Any) -> VGGT:
    torch.manual_seed(0)
    return VGGT(VGGTConfig(**SMALL | changes)).double().eval()


def clip(batch: int = 2, views: int = 3, size: tuple[int, int] = (12, 20)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(batch, views, 3, *size, generator=generator, dtype=torch.float64)
    queries = torch.rand(batch, 5, 2, generator=generator, dtype=torch.float64) * torch.tensor([size[1], size[0]])
    return frames, queries


def parts(tracks: Tracks) -> tuple[Tensor, Tensor, Tensor]:
    return tracks.positions, tracks.visibility, tracks.confidence


def test_tracks_start_at_the_queries() -> None:
    network, (frames, queries) = build().requires_grad_(False), clip()
    tracks = network.track(frames, queries)
    assert tracks.positions.shape == (2, 2, 3, 5, 2)
    assert tracks.visibility.shape == tracks.confidence.shape == (2, 3, 5)
    assert torch.allclose(tracks.positions[:, :, 0], queries.expand(2, -1, -1, -1))
    assert float((tracks.positions[:, :, 1:] - queries[:, None]).abs().max()) > 1e-3
    taps, _ = network.trunk(frames)
    once = network.tracks(taps, (12, 20), queries, iterations=1)
    assert torch.allclose(once.positions[0], tracks.positions[0])


def test_reconstruction_neither_runs_nor_needs_the_tracker() -> None:
    network, (frames, queries) = build(), clip()
    calls: list[str] = []
    network.track_head.register_forward_hook(lambda *_: calls.append("tracker"))
    network.reconstruct(frames)
    assert calls == []
    network.track(frames, queries)
    assert calls == ["tracker"]
    without = build(with_tracker=False)
    without.load_public_state_dict(network.state_dict())
    assert torch.equal(without.reconstruct(frames).points, network.reconstruct(frames).points)
    with pytest.raises(RuntimeError, match="built without its tracker"):
        without.track(frames, queries)
    with pytest.raises(ValueError, match=r"missing: track_head\."):
        network.load_public_state_dict(without.state_dict())


def test_configs_without_a_tracker_are_those_of_before() -> None:
    old = {key: value for key, value in VGGTConfig().to_dict().items() if "track" not in key}
    assert VGGTConfig.from_dict(old) == VGGTConfig()
    with pytest.raises(ValueError, match="track_width 20 of 8"):
        VGGTConfig(**SMALL | {"track_width": 20})


def test_tracks_do_not_depend_on_batch_points_or_chunk() -> None:
    network, (frames, queries) = build(), clip()
    with torch.no_grad():
        whole = network.track(frames, queries)
        network.head_chunk = 2
        alone = network.track(frames[1:], queries[1:])
        order = [3, 0, 4, 1, 2]
        moved = network.track(frames[1:], queries[1:, order])
    for a, b, c in zip(parts(whole), parts(alone), parts(moved), strict=True):
        scenes, points = (1, 3) if a.ndim == 5 else (0, 2)
        assert torch.allclose(a.narrow(scenes, 1, 1), b, atol=1e-6)
        assert torch.allclose(b.index_select(points, torch.tensor(order)), c, atol=1e-6)


def test_gradients_reach_every_parameter_of_the_tracker() -> None:
    network, (frames, queries) = build(), clip()
    torch.stack([part.mean() for part in parts(network.track(frames, queries))]).sum().backward()
    head = dict(network.track_head.named_parameters())
    assert [name for name, parameter in head.items() if parameter.grad is None] == []
    assert all(bool(parameter.grad.isfinite().all()) for parameter in head.values())  # type: ignore[union-attr]


def test_save_and_load_with_a_tracker(tmp_path: Path) -> None:
    network, (frames, queries) = build(), clip()
    network.drop_before("encoder.00")
    network.save_pretrained(tmp_path)
    loaded = VGGT.from_pretrained(tmp_path, torch.float64)
    assert loaded.config == network.config
    state = build().tokens_at(["encoder.00"], frames)["encoder.00"]
    with torch.no_grad():
        found = [net.tracks(net.run_from(state, (12, 20))[0], (12, 20), queries) for net in (network, loaded)]
        half = VGGT.from_pretrained(tmp_path, torch.bfloat16)
        wide = half.tracks(half.run_from(state, (12, 20))[0], (12, 20), queries.float())
    # Not bit for bit: kernels may choose by how memory is aligned.
    assert torch.allclose(found[0].positions, found[1].positions, rtol=1e-9)
    assert {part.dtype for part in parts(wide)} == {torch.float32}
    assert all(bool(part.isfinite().all()) for part in parts(wide))


def test_frames_too_small_for_the_pyramid_are_refused() -> None:
    network = build(track_levels=4)
    with pytest.raises(
        ValueError, match="6x10 are too small for 4 levels of correlation: both sides must be at least 8"
    ):
        network.track(*clip())
    single = replace(network.config, track_levels=2)
    frames, queries = clip(views=1)
    assert VGGT(single).double().track(frames, queries).positions.shape == (2, 2, 1, 5, 2)


def test_correlation_is_that_of_the_whole_volume() -> None:
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn(2, 6, 9, 12, generator=generator, dtype=torch.float64)
    features = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    positions = 14 * torch.rand(2, 4, 2, generator=generator, dtype=torch.float64) - 1
    found = CorrelationPyramid(maps, 3, 1).around(positions, features).unflatten(-1, (3, 3, 3))
    volume = torch.einsum("fcyx,fnc->fnyx", maps, features) / math.sqrt(6)
    for level in range(3):
        for i, shift_x in enumerate((-1, 0, 1)):
            for j, shift_y in enumerate((-1, 0, 1)):
                place = positions / 2**level + torch.tensor([shift_x, shift_y])
                expected = [
                    sample_map(volume[f : f + 1, n : n + 1], place[f, n].view(1, 1, 1, 2), "zeros").item()
                    for f in range(2)
                    for n in range(4)
                ]
                assert torch.allclose(found[:, :, level, i, j].flatten(), torch.tensor(expected).double())
        volume = F.avg_pool2d(volume, 2)


def test_position_embedding_reads_the_table_bilinearly() -> None:
    rows, columns, width = 5, 7, 12
    y, x = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    frequencies = 10000.0 ** -(torch.arange(3).double() / 3)
    halves = [
        torch.cat([(axis[..., None] * frequencies).sin(), (axis[..., None] * frequencies).cos()], -1) for axis in (x, y)
    ]
    table = torch.cat(halves, dim=-1).movedim(-1, 0)[None]
    places = torch.tensor([[0.0, 0.0], [6.0, 4.0], [2.3, 1.9], [-3.0, 9.0], [5.99, 3.2]]).double()
    expected = sample_map(table, places[None, None], "border")[0, :, 0].T
    assert torch.allclose(position_embedding(places, (rows, columns), width), expected)


def test_motion_embedding_interleaves_sines_and_cosines() -> None:
    motion = torch.tensor([0.013, -0.4], dtype=torch.float64)
    found = motion_embedding(motion, 16)
    expected = [
        function(float(value) * k * 1000 / 8)
        for value in motion
        for k in (0, 2, 4, 6)
        for function in (math.sin, math.cos)
    ]
    assert torch.allclose(found, torch.tensor(expected).double())


def test_the_residual_of_a_track_block_is_the_normed_input() -> None:
    block = TrackBlock(8).double()
    with torch.no_grad():
        for part in (block.attn.out_proj, block.mlp.fc2):
            part.weight.zero_()
            part.bias.zero_()
    x = 3 + 5 * torch.randn(2, 4, 8, dtype=torch.float64)
    assert torch.allclose(block(x), F.layer_norm(x, (8,), eps=1e-5))
