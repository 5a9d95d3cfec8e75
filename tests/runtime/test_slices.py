"""Work in slices against the same on everything at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vist3a.runtime.slices import in_slices


def worker() -> tuple[nn.Module, list[int]]:
    torch.manual_seed(0)
    layer, calls = nn.Linear(3, 2, dtype=torch.float64), []

    class Work(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            calls.append(len(first))
            return (self.layer(first).tanh() * second).sum(1).exp()

    return Work(), calls


@pytest.mark.parametrize(("size", "asked"), [(None, [5]), (1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_values_and_gradients_are_those_of_all_at_once(size: int | None, asked: list[int]) -> None:
    first, second = (torch.randn(5, n, dtype=torch.float64, requires_grad=True) for n in (3, 2))
    found = []
    for how in (None, size):
        work, calls = worker()
        value = in_slices(work, how)(first, second)
        # As often again where slices are not kept.
        forwards = len(calls)
        gradients = torch.autograd.grad(value.square().sum(), (first, second, *work.parameters()))
        found.append((value.detach(), *gradients))
        if how is not None:
            assert calls[:forwards] == asked and sorted(calls[forwards:]) == sorted(asked)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        work, calls = worker()
        assert torch.equal(in_slices(work, size)(first, second), found[1][0]) and calls == asked


def test_a_graph_keeps_a_slice_and_not_all() -> None:
    kept = {}
    for size in (None, 1):
        held: list[int] = []
        work = nn.Sequential(*[nn.Tanh() for _ in range(20)])

        def keep(tensor: Tensor, held: list[int] = held) -> Tensor:
            held.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            in_slices(work, size)(torch.randn(8, 10, requires_grad=True))
        kept[size] = sum(held)
    assert kept[1] * 5 < kept[None]
