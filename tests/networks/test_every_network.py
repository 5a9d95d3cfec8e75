"""What holds for every reconstruction network: entry anywhere is exact; which orders do not matter."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reconstruction_cases import KINDS, assert_close, assert_same, build, by_view, clip, permuted, tensors
from torch import nn

from vist3a.networks.blocks.enterable import EnterableNetwork

sides = st.integers(1, 5).map(lambda tokens: 4 * tokens)


@cache
def network_of(kind: str) -> EnterableNetwork[Any]:
    return build(kind)


# Beside the drawn ones: the longest clips of the field (21 views), a single view, and scenes in one batch.
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(height=sides, width=sides, batch=st.integers(1, 3), views=st.integers(1, 21))
@example(height=4, width=12, batch=1, views=21)
@example(height=8, width=4, batch=3, views=21)
@example(height=8, width=20, batch=3, views=1)
def test_entering_at_any_point_gives_the_same_reconstruction(
    kind: str, height: int, width: int, batch: int, views: int
) -> None:
    network = network_of(kind)
    views = max(views, getattr(network.config, "references", 1))
    frames, size = clip((height, width), batch, views), (height, width)
    points = [point.name for point in network.stitch_points]
    with torch.no_grad():
        whole = network.reconstruct(frames)
        states = network.tokens_at(points, frames)
        assert list(states) == points
        for point in network.stitch_points:
            state = states[point.name]
            assert state.patch_tokens.shape == (batch, views, height // 4, width // 4, point.width)
            assert state.special_tokens.shape == (batch, views, point.special_tokens, point.width)
            assert not (point.complete and state.taps)
            assert_same(whole, network.reconstruct_from(state, size, rgb=frames))


# The orders of five views that only reorder the result; MV-DUSt3R+ has three reference views here.
LATER_VIEWS, ANY_VIEWS = (0, 3, 1, 4, 2), (3, 1, 4, 0, 2)
SAME_RESULT = [
    ("vggt", {}, LATER_VIEWS),
    ("anysplat", {}, LATER_VIEWS),
    ("da3", {"reference_strategy": "first"}, LATER_VIEWS),
    ("da3-giant", {"reference_strategy": "first"}, LATER_VIEWS),
    ("da3", {"reference_strategy": "saddle_balanced"}, ANY_VIEWS),
    ("da3-giant", {"reference_strategy": "saddle_balanced"}, ANY_VIEWS),
    ("mvdust3r", {}, LATER_VIEWS),
    ("mvdust3r-plus", {}, (0, 2, 1, 4, 3)),
]
OTHER_RESULT = [
    ("vggt", {}, ANY_VIEWS),
    ("anysplat", {}, ANY_VIEWS),
    ("da3", {"reference_strategy": "first"}, ANY_VIEWS),
    ("da3", {"reference_strategy": "middle"}, LATER_VIEWS),
    ("mvdust3r", {}, ANY_VIEWS),
    ("mvdust3r-plus", {}, LATER_VIEWS),
]


@pytest.mark.parametrize(("kind", "changes", "order"), SAME_RESULT)
def test_views_that_may_change_places(kind: str, changes: dict[str, Any], order: tuple[int, ...]) -> None:
    network, frames = build(kind, **changes), clip((12, 8), views=5)
    with torch.no_grad():
        moved = network.reconstruct(frames[:, list(order)])
        assert_close(by_view(moved), permuted(network.reconstruct(frames), (0, 1), order))


@pytest.mark.parametrize(("kind", "changes", "order"), OTHER_RESULT)
def test_views_that_may_not(kind: str, changes: dict[str, Any], order: tuple[int, ...]) -> None:
    network, frames = build(kind, **changes), clip((12, 8), views=5)
    with torch.no_grad():
        moved = network.reconstruct(frames[:, list(order)]).points
        expected = network.reconstruct(frames).points[:, list(order)]
    assert float((moved - expected).abs().max()) > 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_of_a_batch_do_not_know_each_other(kind: str) -> None:
    network, frames, order = network_of(kind), clip((12, 8), batch=3, views=4), (2, 0, 1)
    views = tuple(range(4))
    with torch.no_grad():
        whole = network.reconstruct(frames)
        assert_close(by_view(network.reconstruct(frames[list(order)])), permuted(whole, order, views))
        for scene in range(3):
            assert_close(by_view(network.reconstruct(frames[scene : scene + 1])), permuted(whole, (scene,), views))


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_rounds_where_autocast_rounds(kind: str) -> None:
    # A reference that tokens choose could be another one after rounding.
    network = build(kind, **({"reference_strategy": "first"} if kind.startswith("da3") else {})).float()
    frames = clip((12, 20), views=4).float()
    with torch.no_grad():
        exact = tensors(network.reconstruct(frames))
        with torch.autocast("cpu", torch.bfloat16):
            autocast = tensors(network.reconstruct(frames))
        mixed = tensors(network.mixed_precision().reconstruct(frames))
    for key, reference in exact.items():
        ours, theirs = (float((found[key] - reference).square().mean().sqrt()) for found in (mixed, autocast))
        assert mixed[key].dtype == torch.float32
        assert ours <= 1.01 * theirs, key
    assert not torch.equal(mixed["points"], exact["points"])


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_narrows_the_matrices_of_the_trunk_alone(kind: str) -> None:
    network = build(kind).float().mixed_precision()
    trunk = {id(parameter) for name in network.trunk_parts for parameter in getattr(network, name).parameters()}
    for name, module in network.named_modules():
        own = list(module.parameters(recurse=False))
        narrow = isinstance(module, nn.Linear | nn.Conv2d) and id(own[0]) in trunk
        assert {parameter.dtype for parameter in own} <= {torch.bfloat16 if narrow else torch.float32}, name
    points, frames, size = [point.name for point in network.stitch_points], clip((8, 12), views=4).float(), (8, 12)
    with torch.no_grad():
        whole = network.reconstruct(frames)
        for state in network.tokens_at(points, frames).values():
            assert state.patch_tokens.dtype == torch.float32
            assert_same(whole, network.reconstruct_from(state, size, rgb=frames), bound=1e-4)
