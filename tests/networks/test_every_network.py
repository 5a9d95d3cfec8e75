"""What holds for every reconstruction network: entry anywhere is exact; which orders do not matter."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reconstruction_cases import KINDS, assert_same, build, clip, tensors
from torch import nn

from vist3a.networks.template import EnterableNetwork
from vist3a.testing.network_case import Case
from vist3a.testing.networks import check_batch, check_entry, check_network, check_places

sides = st.integers(1, 5).map(lambda tokens: 4 * tokens)


@cache
def network_of(kind: str) -> EnterableNetwork[Any]:
    return build(kind)


# Beside the drawn ones: the longest clips of the field (21 views), a single view, and scenes in one batch.
# The kit enters every network at every point; other sizes of two of them in each run, of all in the long tests.
@pytest.mark.parametrize(
    "kind", [kind if kind in ("vggt", "mvdust3r") else pytest.param(kind, marks=pytest.mark.long) for kind in KINDS]
)
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


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *((kind, {"reference_strategy": "first"} if kind.startswith("da3") else {}) for kind in KINDS),
        ("da3", {"reference_strategy": "middle"}),
    ],
)
def test_the_contract_is_kept(kind: str, changes: dict[str, Any]) -> None:
    check_network(lambda: build(kind, **changes), views=5 if kind == "mvdust3r-plus" else 4)


@pytest.mark.parametrize("kind", ["da3", "da3-giant"])
def test_views_that_choose_the_reference_may_change_places(kind: str) -> None:
    network = build(kind, reference_strategy="saddle_balanced")
    network.one_gaussian_per_pixel()
    with torch.no_grad():
        for check in (check_entry, check_places, check_batch):
            check(Case(network, clip((12, 8), views=5), 1e-6))


# The orders of five views that change the result; MV-DUSt3R+ has three reference views here.
LATER_VIEWS, ANY_VIEWS = (0, 3, 1, 4, 2), (3, 1, 4, 0, 2)
OTHER_RESULT = [
    ("vggt", {}, ANY_VIEWS),
    ("anysplat", {}, ANY_VIEWS),
    ("da3", {"reference_strategy": "first"}, ANY_VIEWS),
    ("da3", {"reference_strategy": "middle"}, LATER_VIEWS),
    ("mvdust3r", {}, ANY_VIEWS),
    ("mvdust3r-plus", {}, LATER_VIEWS),
]


@pytest.mark.parametrize(("kind", "changes", "order"), OTHER_RESULT)
def test_views_that_may_not(kind: str, changes: dict[str, Any], order: tuple[int, ...]) -> None:
    network, frames = build(kind, **changes), clip((12, 8), views=5)
    with torch.no_grad():
        moved = network.reconstruct(frames[:, list(order)]).points
        expected = network.reconstruct(frames).points[:, list(order)]
    assert float((moved - expected).abs().max()) > 1e-4 * float(expected.abs().max())


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
