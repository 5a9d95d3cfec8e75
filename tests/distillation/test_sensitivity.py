"""The metric of token errors: equal to the Jacobian's own, written out; its root; what it does to a training's loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stitching.test_decoder import SIZE, clips
from tiny_networks import tiny_network

from vist3a.distillation.sensitivity import OUTPUTS, Output, gauss_newton, metric_root

POINT = "encoder.norm"
CPU = torch.device("cpu")


@pytest.mark.parametrize("outputs", [OUTPUTS, ("depth",), ("rotations",)])
def test_equals_the_jacobian_written_out(outputs: tuple[Output, ...]) -> None:
    network = tiny_network()
    (clip,) = clips(1)
    found = gauss_newton(network, [clip], POINT, CPU, probes=400, seed=0, outputs=outputs)
    frames = clip.frames[None]
    state = network.tokens_at([POINT], frames)[POINT]

    def read(tokens: torch.Tensor) -> tuple[torch.Tensor, ...]:
        taps, _ = network.run_from(replace(state, patch_tokens=tokens), SIZE)
        out = network.heads(taps, SIZE, frames, with_gaussians=False)
        poses = out.pose_encodings[-1]
        values = {
            "depth": out.depth.log()[..., ::2, ::2],
            "translations": poses[..., :3],
            "rotations": poses[..., 3:7],
        }
        return tuple(values[name] for name in outputs)

    parts = []
    for jacobian in torch.autograd.functional.jacobian(read, state.patch_tokens):
        rows = jacobian.reshape(-1, state.patch_tokens.shape[-1])
        parts.append(rows.T @ rows / rows.square().sum())
    expected = torch.stack(parts).mean(0) * len(found)
    assert float(found.trace()) == pytest.approx(len(found))
    # Random projections, and every second pixel of the depth on this side.
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.98


def test_root_gives_the_weighted_square() -> None:
    draws = torch.Generator().manual_seed(0)
    a = torch.randn(6, 9, generator=draws, dtype=torch.float64)
    sensitivity, errors = a @ a.T, torch.randn(5, 6, generator=draws, dtype=torch.float64)
    root = metric_root(sensitivity, 0.7)
    expected = 0.3 * errors.square().sum(1) + 0.7 * torch.einsum("ni,ij,nj->n", errors, sensitivity, errors)
    torch.testing.assert_close((errors @ root).square().sum(1), expected)
    torch.testing.assert_close(
        metric_root(sensitivity, 0.0) @ metric_root(sensitivity, 0.0).T, torch.eye(6, dtype=torch.float64)
    )


def test_outputs_that_ignore_the_tokens_are_refused() -> None:
    network = tiny_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    with pytest.raises(ValueError, match=r"distill\.match\.sensitivity: no output of this network depends on encoder"):
        gauss_newton(network, clips(1), POINT, CPU, probes=1, seed=0)
