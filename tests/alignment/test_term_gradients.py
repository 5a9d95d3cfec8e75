"""Norms of the terms' own gradients against autograd on each term by itself."""

from __future__ import annotations

import torch

from vist3a.alignment.term_gradients import term_gradient_norms


def test_norms_and_the_graph_that_stays() -> None:
    latents = torch.rand(2, 1, 1, 3, 3, dtype=torch.float64).requires_grad_(True)
    squared = latents.square().flatten(1).sum(1)
    parts = {
        "squares": squared,
        "sums": latents.flatten(1).sum(1),
        "unweighted": squared.sqrt(),
        "constant": torch.ones(2, dtype=torch.float64),
    }
    weights = {"squares": 0.5, "sums": -3.0, "unweighted": 0.0, "constant": 1.0}
    norms = term_gradient_norms(weights, parts, latents)
    # d(w * mean over 2 samples) / d latents: w * 2 x / 2, and w / 2 per element.
    torch.testing.assert_close(norms["squares"], 0.5 * latents.detach().norm())
    torch.testing.assert_close(norms["sums"], torch.tensor(1.5 * 18**0.5, dtype=torch.float64))
    assert float(norms["unweighted"]) == 0
    assert float(norms["constant"]) == 0
    total = sum(weights[name] * part for name, part in parts.items())
    (whole,) = torch.autograd.grad(total.mean(), latents)
    torch.testing.assert_close(whole, 0.5 * latents.detach() - 1.5)
