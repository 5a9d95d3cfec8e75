"""Muon: in bfloat16 torch's own, to the bit; in float32 what it approximates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vist3a.runtime.muon import Muon, fast_dtype, orthogonalised

SHAPES = [(8, 20), (20, 8), (12, 12)]


def stepped(optimizer: torch.optim.Optimizer, matrices: list[nn.Parameter], steps: int = 4) -> None:
    random = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=random)
        optimizer.step()


def matrices() -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=random)) for shape in SHAPES]


def test_in_bfloat16_it_is_that_of_torch() -> None:
    ours, theirs = matrices(), matrices()
    stepped(Muon(ours, lr=3e-3, weight_decay=0.1, dtype=torch.bfloat16), ours)
    other = torch.optim.Muon(theirs, lr=3e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    stepped(other, theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_in_float32_it_is_the_same_but_for_rounding() -> None:
    ours, theirs = matrices(), matrices()
    stepped(Muon(ours, lr=3e-3, dtype=torch.float32), ours)
    stepped(Muon(theirs, lr=3e-3, dtype=torch.bfloat16), theirs)
    for a, b, start in zip(ours, theirs, matrices(), strict=True):
        moved, other = a.detach() - start.detach(), b.detach() - start.detach()
        assert float((moved - other).norm() / other.norm()) < 0.05
    assert fast_dtype(ours[0]) in {torch.bfloat16, torch.float32}


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_vectors_stay_and_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    """Against the decomposition in float64."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = left.T @ orthogonalised(matrix, torch.float64) @ right.T
    spread = values.diagonal()
    torch.testing.assert_close(values, torch.diag(spread), atol=1e-9, rtol=0)
    assert float(spread.min()) > 0.5
    assert float(spread.max()) < 1.3
