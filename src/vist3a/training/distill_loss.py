"""Self-distillation of a stitched decoder: weighted l1 distances to the original network's outputs (VIST3A 3.1, appendix B.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Gaussians, Reconstruction, TokenState

GRADIENT_LIMIT = 100.0


@dataclass(frozen=True)
class DistillWeights:
    """Weights of the terms; the defaults are the paper's for AnySplat (``gaussians``: all parameters but scales)."""

    pose: float = 1.0
    depth: float = 1.0
    depth_gradient: float = 5e-3
    confidence: float = 1e-2
    points: float = 0.0
    gaussians: float = 1.0
    scales: float = 10.0
    anchor_features: float = 0.1
    features: float = 0.0


def feature_distance(student: Mapping[str, TokenState], teacher: Mapping[str, TokenState]) -> Float[Tensor, ""]:
    """Smooth l1 between token states, patch and special tokens alike, in units of the teacher's standard deviation.

    Not in the paper: matching inner states costs a fraction of what the heads cost and carries most of the signal.
    """
    distances = []
    for name, target in teacher.items():
        own = student[name]
        scale = target.patch_tokens.std().clamp(min=1e-6)
        for a, b in ((own.patch_tokens, target.patch_tokens), (own.special_tokens, target.special_tokens)):
            if b.numel():
                distances.append(functional.smooth_l1_loss(a / scale, b / scale))
    return torch.stack(distances).mean()


def distill_terms(student: Reconstruction, teacher: Reconstruction) -> dict[str, Float[Tensor, ""]]:
    """Unweighted l1 distances, one per :class:`DistillWeights` field; Gaussian terms only when both have Gaussians.

    Both reconstructions must have one Gaussian per pixel (no voxel fusion), so that Gaussians correspond.
    """
    terms = {
        "pose": (student.pose_encodings - teacher.pose_encodings).abs().mean(),
        "depth": (student.depth - teacher.depth).abs().mean(),
        "depth_gradient": _gradient_distance(student.depth, teacher.depth),
        "confidence": (student.depth_confidence - teacher.depth_confidence).abs().mean(),
        "points": (student.points - teacher.points).abs().mean(),
    }
    if student.gaussians is not None and teacher.gaussians is not None:
        a, b = student.gaussians, teacher.gaussians
        terms["gaussians"] = (
            (a.means - b.means).abs().mean()
            + (_covariances(a) - _covariances(b)).abs().mean()
            + (a.harmonics - b.harmonics).abs().mean()
            + (a.opacities - b.opacities).abs().mean()
            + (a.rotations - b.rotations).abs().mean()
        )
        terms["scales"] = (a.scales - b.scales).abs().mean()
    if student.gaussian_features is not None and teacher.gaussian_features is not None:
        terms["anchor_features"] = (student.gaussian_features - teacher.gaussian_features).abs().mean()
    return terms


def weighted(terms: Mapping[str, Tensor], weights: DistillWeights) -> Float[Tensor, ""]:
    """Weighted sum of the terms."""
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    assert isinstance(total, Tensor)
    return total


def _covariances(gaussians: Gaussians) -> Float[Tensor, "batch n 3 3"]:
    half = rotation_from_quaternion(gaussians.rotations) * gaussians.scales[..., None, :]
    return half @ half.transpose(-1, -2)


def _gradient_distance(student: Float[Tensor, "b v h w"], teacher: Float[Tensor, "b v h w"]) -> Float[Tensor, ""]:
    """l1 of the difference's gradients at four scales."""
    difference = student - teacher
    total = difference.new_zeros(())
    for level in range(4):
        d = difference[..., :: 2**level, :: 2**level]
        if min(d.shape[-2:]) < 2:
            break
        total = total + d.diff(dim=-1).abs().clamp(max=GRADIENT_LIMIT).mean()
        total = total + d.diff(dim=-2).abs().clamp(max=GRADIENT_LIMIT).mean()
    return total
