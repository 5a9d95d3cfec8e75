"""How strongly a network's outputs depend on its tokens at one point: a metric in which token errors are output errors.

Not in the paper. Matching tokens with equal weights spends a training on directions that no output reads. To first order an
error ``d`` of a token moves the outputs by ``J d``, so that its mean square is ``d^T G d`` with the Gauss-Newton matrix
``G = E[J^T J]``, estimated here with random projections of the outputs (Hutchinson).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.pose_encoding import encodings_of
from vist3a.networks.base import ReconstructionModel
from vist3a.records import Clip, Reconstruction
from vist3a.runtime.progress import progress

Output = Literal["depth", "translations", "rotations"]
OUTPUTS: tuple[Output, ...] = ("depth", "translations", "rotations")


def gauss_newton(
    network: ReconstructionModel,
    clips: Sequence[Clip],
    point: str,
    device: torch.device,
    *,
    probes: int,
    seed: int,
    outputs: Sequence[Output] = OUTPUTS,
) -> Float[Tensor, "dim dim"]:
    """``G`` of the patch tokens at ``point`` in float64, with trace ``dim``: as sensitive as the identity on average.

    Of logarithmic depth, the cameras' translations and their rotations those in ``outputs`` count, with equal traces, as their
    units differ.
    """
    draws = torch.Generator().manual_seed(seed)
    sums: dict[str, Tensor] = {}
    for clip in progress(clips, "measure sensitivity", len(clips)):
        frames = clip.frames[None].to(device)
        size = network.frame_size(frames.shape[-2], frames.shape[-1])
        with torch.no_grad():
            state = network.tokens_at([point], frames)[point]
        # A leaf of its own: nothing before the point is differentiated.
        tokens = state.patch_tokens.detach().requires_grad_()
        taps, _ = network.run_from(replace(state, patch_tokens=tokens), size)
        read = _read(network.heads(taps, size, frames, with_gaussians=False))
        for name, value in ((name, read[name]) for name in outputs):
            # An output that does not depend on the tokens has no gradient to ask for.
            for _ in range(probes if value.requires_grad else 0):
                # Random signs s have E[s s^T] = I, so that E[J^T s s^T J] = J^T J.
                signs = torch.randint(2, value.shape, generator=draws).to(value) * 2 - 1
                (gradient,) = torch.autograd.grad((value * signs).sum(), tokens, retain_graph=True)
                rows = gradient.flatten(0, -2).double()
                sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64, device=device)) + rows.T @ rows
    # Equal traces: lengths and angles cannot be compared, shares can.
    seen = [matrix / matrix.trace() for matrix in sums.values() if float(matrix.trace()) > 0]
    if not seen:
        raise ValueError(f"distill.match.sensitivity: no output of this network depends on {point}; allowed: 0")
    return torch.stack(seen).mean(0) * seen[0].shape[0]


def metric_root(sensitivity: Float[Tensor, "dim dim"], share: float) -> Float[Tensor, "dim dim"]:
    """``R`` with ``R R^T = (1 - share) I + share G``: squared lengths of ``d R`` are the weighted ones of ``d``."""
    identity = torch.eye(len(sensitivity), dtype=sensitivity.dtype, device=sensitivity.device)
    values, vectors = torch.linalg.eigh((1 - share) * identity + share * sensitivity)
    # Columns scaled by roots of the eigenvalues; clamped, as rounding may leave some below zero.
    return vectors * values.clamp_min(0).sqrt()


def _read(found: Reconstruction) -> dict[str, Tensor]:
    last = encodings_of(found)[-1]
    # Networks that regress points may put some behind the camera.
    return {"depth": found.depth.clamp_min(1e-3).log(), "translations": last[..., :3], "rotations": last[..., 3:7]}
