"""The blocks' fast forms against slow ones written from the formulas, values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.networks.blocks.attention import Attention
from vist3a.networks.blocks.dpt_head import FusionUnit, add_positions, resize_map
from vist3a.networks.blocks.mvdust3r_decoder import CrossAttention, other_members
from vist3a.networks.blocks.output import cameras
from vist3a.networks.blocks.rope import grid_rotation, rotate
from vist3a.networks.blocks.transformer import Block, LayerScale, Residual
from vist3a.networks.blocks.vit import PatchProjection


def drawn(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_()


def shaken(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def assert_twins(fast: Callable[[], Tensor], slow: Callable[[], Tensor], leaves: list[Tensor]) -> None:
    """Same values, and same gradients of a random projection by every leaf."""
    results = [fast(), slow()]
    weights = torch.randn_like(results[0])
    first, second = (torch.autograd.grad((result * weights).sum(), leaves) for result in results)
    assert torch.allclose(*results, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(first, second, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-11)
        assert float(theirs.abs().max()) > 0


def turned_one_by_one(x: Tensor, rows: int, columns: int, special: int, base: float) -> Tensor:
    """Each token's channels in turn; the first half of a head by the row, the second by the column."""
    quarter = x.shape[-1] // 4
    places = [(0, 0)] * special + [(row + 1, column + 1) for row in range(rows) for column in range(columns)]
    result = []
    for token, place in enumerate(places):
        halves = []
        for axis in range(2):
            a, b = x[:, token, :, 2 * axis * quarter : 2 * (axis + 1) * quarter].split(quarter, dim=-1)
            angles = torch.tensor([place[axis] * base ** (-i / quarter) for i in range(quarter)], dtype=x.dtype)
            turned = torch.complex(a, b) * torch.polar(torch.ones_like(angles), angles)
            halves += [turned.real, turned.imag]
        result.append(torch.cat(halves, dim=-1))
    return torch.stack(result, dim=1)


def test_rotation_is_that_of_complex_numbers() -> None:
    x = drawn(2, 2 + 3 * 4, 5, 8)
    rotation = grid_rotation(3, 4, 2, 8, 100.0, x)
    assert_twins(lambda: rotate(x, rotation), lambda: turned_one_by_one(x, 3, 4, 2, 100.0), [x])


@pytest.mark.parametrize("rotated", [False, True])
def test_attention_is_a_softmax_over_all_tokens(rotated: bool) -> None:
    attention, x = shaken(Attention(16, 2, qk_norm=True)), drawn(3, 2 + 2 * 3, 16)
    rotation = grid_rotation(2, 3, 2, 8, 100.0, x) if rotated else None

    def slow() -> Tensor:
        queries, keys, values = attention.qkv(x).unflatten(-1, (3, 2, 8)).unbind(2)
        queries, keys = (
            F.layer_norm(part, (8,), norm.weight, norm.bias, 1e-5)
            for part, norm in ((queries, attention.q_norm), (keys, attention.k_norm))
        )
        if rotated:
            queries, keys = (turned_one_by_one(part, 2, 3, 2, 100.0) for part in (queries, keys))
        weights = (torch.einsum("bnhd,bmhd->bhnm", queries, keys) / math.sqrt(8)).softmax(-1)
        return attention.proj(torch.einsum("bhnm,bmhd->bnhd", weights, values).flatten(2))

    assert_twins(lambda: attention(x, rotation), slow, [x, *attention.parameters()])


def test_cross_attention_reads_the_other_members() -> None:
    attention = shaken(CrossAttention(8, 2))
    x, members = drawn(2, 2, 6, 8), drawn(2, 3, 6, 8, seed=1)
    rotation = grid_rotation(2, 3, 0, 4, 100.0, x)

    def slow() -> Tensor:
        parts = []
        for target in range(2):
            read = torch.cat([members[:, other] for other in range(3) if other != target], dim=1)
            queries = turned_one_by_one(attention.projq(x[:, target]).unflatten(-1, (2, 4)), 2, 3, 0, 100.0)
            pairs = attention.projk(read).unflatten(-1, (2, 4)).split(6, dim=1)
            keys = torch.cat([turned_one_by_one(part, 2, 3, 0, 100.0) for part in pairs], dim=1)
            weights = (torch.einsum("bnhd,bmhd->bhnm", queries, keys) / 2).softmax(-1)
            values = attention.projv(read).unflatten(-1, (2, 4))
            parts.append(attention.proj(torch.einsum("bhnm,bmhd->bnhd", weights, values).flatten(2)))
        return torch.stack(parts, dim=1)

    others = other_members(3)[:2]
    assert_twins(lambda: attention(x, members, others, rotation), slow, [x, members, *attention.parameters()])


@pytest.mark.parametrize("scale", [None, 0.5])
def test_a_block_adds_its_branches_in_turn(scale: float | None) -> None:
    block, x = shaken(Block(8, 2, layer_scale_init=scale)), drawn(2, 5, 8)

    def slow() -> Tensor:
        first, second = (1.0, 1.0) if scale is None else (block.ls1.gamma, block.ls2.gamma)
        mixed = x + first * block.attn(block.norm1(x))
        return mixed + second * block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(mixed))))

    assert_twins(lambda: block(x), slow, [x, *block.parameters()])


@pytest.mark.parametrize("residual", [Residual(), LayerScale(8, 0.5)])
def test_a_narrow_branch_does_not_narrow_the_stream(residual: nn.Module) -> None:
    x, branch = drawn(2, 8).detach().float(), drawn(2, 8, seed=1).detach().bfloat16()
    result = residual(x, branch)
    factor = 0.5 if isinstance(residual, LayerScale) else 1.0
    assert result.dtype == torch.float32
    assert torch.allclose(result, x + factor * branch.float(), rtol=1e-6)


def test_positions_are_sines_of_coordinates_on_a_unit_diagonal() -> None:
    rows, columns, aspect, quarter = 3, 5, 1.6, 2
    start = drawn(2, 4 * quarter, rows, columns)
    diagonal = math.sqrt(aspect**2 + 1)
    expected = start.detach().clone()
    for row in range(rows):
        for column in range(columns):
            u = aspect / diagonal * (2 * column - (columns - 1)) / columns
            v = 1 / diagonal * (2 * row - (rows - 1)) / rows
            for half, place in enumerate((u, v)):
                for i in range(quarter):
                    angle = place * 100.0 ** (-i / quarter)
                    expected[:, 2 * half * quarter + i, row, column] += 0.1 * math.sin(angle)
                    expected[:, (2 * half + 1) * quarter + i, row, column] += 0.1 * math.cos(angle)
    x = start.detach().clone()
    found = add_positions(x, aspect)
    assert torch.allclose(found, expected, rtol=1e-12)
    assert found is x, "in place"


@pytest.mark.parametrize("rectified_skip", [False, True])
def test_fusion_in_the_published_order(rectified_skip: bool) -> None:
    unit = shaken(FusionUnit(4, lateral=True, rectified_skip=rectified_skip))
    path, lateral = drawn(2, 4, 3, 2), drawn(2, 4, 3, 2, seed=1)

    def convolved(unit: nn.Module, x: Tensor) -> Tensor:
        rectified = F.relu(x)
        return unit.conv2(F.relu(unit.conv1(rectified))) + (rectified if rectified_skip else x)

    def slow() -> Tensor:
        x = convolved(unit.resConfUnit2, path + convolved(unit.resConfUnit1, lateral))
        return unit.out_conv(resize_map(x, (6, 5)))

    assert_twins(lambda: unit(path, lateral, (6, 5)), slow, [path, lateral, *unit.parameters()])


@pytest.mark.parametrize("size", [(16, 24), (19, 25)])
def test_patches_are_projected_as_by_the_convolution(size: tuple[int, int]) -> None:
    project = PatchProjection(8, 5).double()
    images = torch.rand(3, 3, *size, dtype=torch.float64)
    expected = F.conv2d(images, project.proj.weight, project.proj.bias, stride=8).permute(0, 2, 3, 1)
    torch.testing.assert_close(project(images), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_field_of_view_mirrors_the_image(offset: float, dtype: torch.dtype) -> None:
    """The published formula from just above 0 to just below pi; beyond, the focal length of the widest view."""
    fov = torch.tensor([0.0, 0.002, 0.5, 1.5, 3.0, 3.1415, math.pi, 3.2, 5.0, 50.0], dtype=dtype)
    encoding = torch.cat(
        [torch.tensor([0, 0, 0, 0, 0, 0, 1], dtype=dtype).expand(len(fov), 7), fov[:, None].expand(-1, 2)], -1
    )
    encoding.requires_grad_()
    focal = cameras(encoding[None], (20, 30), offset).intrinsics[0, :, (1, 0), (1, 0)]
    half = torch.tensor([10.0, 15.0], dtype=dtype)
    torch.testing.assert_close(focal[1:6], half / (torch.tan(fov[1:6, None] / 2) + offset), rtol=2e-4, atol=0)
    assert bool((focal > 0).all() and focal.isfinite().all())
    # All beyond are as the widest.
    assert bool((focal[6:] == focal[6]).all() and (focal[6] < focal[5]).all())
    (gradient,) = torch.autograd.grad(focal.sum(), encoding)
    assert bool(gradient.isfinite().all())
