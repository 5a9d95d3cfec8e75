"""Self-distillation of a stitched decoder: weighted l1 distances to the original network's outputs (VIST3A 3.1, appendix B.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vist3a.geometry.pose_encoding import encodings_of
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Cameras, Gaussians, Reconstruction, TokenState

GRADIENT_LIMIT = 100.0


@dataclass(frozen=True)
class DistillWeights:
    """Weights of the terms, each the mean absolute difference to the teacher; the defaults are the paper's for AnySplat.

    Attributes:
        pose: Pose encodings.
        depth: Depth of every pixel.
        depth_gradient: Differences of neighboring pixels of the depth.
        confidence: Confidence of the depth.
        points: World points of every pixel.
        points_gradient: Differences of neighboring points.
        points_confidence: Confidence of the points.
        gaussians: All parameters of the Gaussians but their scales.
        gaussian_confidence: Confidence of the Gaussians.
        scales: Scales of the Gaussians.
        anchor_features: Features that the Gaussians are made of.
        extrinsics: Camera-to-world matrices; a term of the released code alone.
        intrinsics: Camera intrinsics in units of the frame's sides; a term of the released code alone.
        features: Inner states; a term of ours.
    """

    pose: float = 1.0
    depth: float = 1.0
    depth_gradient: float = 5e-3
    confidence: float = 1e-2
    points: float = 0.0
    points_gradient: float = 0.0
    points_confidence: float = 0.0
    gaussians: float = 1.0
    gaussian_confidence: float = 1e-2
    scales: float = 10.0
    anchor_features: float = 0.1
    extrinsics: float = 0.0
    intrinsics: float = 0.0
    features: float = 0.0


PUBLISHED = DistillWeights()
"""Those of the paper for AnySplat."""


def feature_distance(student: Mapping[str, TokenState], teacher: Mapping[str, TokenState]) -> Float[Tensor, ""]:
    """Smooth l1 between token states, patch and special tokens alike, in units of the teacher's standard deviation.

    Not in the paper: matching inner states costs a fraction of what the heads cost and carries most of the signal.
    """
    distances = []
    for name, target in teacher.items():
        own = student[name]
        # The floor is for constant tokens, which have no unit.
        scale = target.patch_tokens.std().clamp(min=1e-6)
        for a, b in ((own.patch_tokens, target.patch_tokens), (own.special_tokens, target.special_tokens)):
            if b.numel():
                distances.append(functional.smooth_l1_loss(a / scale, b / scale))
    return torch.stack(distances).mean()


def distill_terms(
    student: Reconstruction, teacher: Reconstruction, weights: DistillWeights | None = None
) -> dict[str, Float[Tensor, ""]]:
    """Unweighted l1 distances, one per :class:`DistillWeights` field; Gaussian terms only when both have Gaussians.

    Both reconstructions must have one Gaussian per pixel (no voxel fusion), so that Gaussians correspond. With ``weights``
    only the terms of a weight are computed.
    """
    a, b = student, teacher
    size = a.depth.shape[-2:]
    # Functions, so that terms without a weight cost nothing.
    terms: dict[str, Callable[[], Tensor]] = {
        "pose": lambda: _l1(encodings_of(a), encodings_of(b)),
        "depth": lambda: _l1(a.depth, b.depth),
        "depth_gradient": lambda: _gradient_distance(a.depth, b.depth),
        "confidence": lambda: _l1(a.depth_confidence, b.depth_confidence),
        "points": lambda: _l1(a.points, b.points),
        # Coordinates go before rows and columns, as gradients are taken along the last two axes.
        "points_gradient": lambda: _gradient_distance(a.points.movedim(-1, 2), b.points.movedim(-1, 2)),
        "points_confidence": lambda: _l1(a.points_confidence, b.points_confidence),
        "extrinsics": lambda: _l1(a.cameras.camera_to_world, b.cameras.camera_to_world),
        "intrinsics": lambda: _l1(_normalised(a.cameras, size), _normalised(b.cameras, size)),
    }
    if a.gaussians is not None and b.gaussians is not None:
        first, second = a.gaussians, b.gaussians
        # Covariances say what quaternions leave open: q and -q are one Gaussian.
        terms["gaussians"] = lambda: (
            _l1(first.means, second.means)
            + _l1(_covariances(first), _covariances(second))
            + _l1(first.harmonics, second.harmonics)
            + _l1(first.opacities, second.opacities)
            + _l1(first.rotations, second.rotations)
        )
        terms["scales"] = lambda: _l1(first.scales, second.scales)
    for name, own, target in (
        ("anchor_features", a.gaussian_features, b.gaussian_features),
        ("gaussian_confidence", a.gaussian_confidence, b.gaussian_confidence),
    ):
        if own is not None and target is not None:
            terms[name] = lambda own=own, target=target: _l1(own, target)  # type: ignore[misc]
    return {name: term() for name, term in terms.items() if weights is None or getattr(weights, name)}


def weighted(terms: Mapping[str, Tensor], weights: DistillWeights) -> Float[Tensor, ""]:
    """Weighted sum of the terms."""
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    if not isinstance(total, Tensor):
        raise ValueError("distill.weights: none is above 0 for what this network has; allowed: at least one")
    return total


def _covariances(gaussians: Gaussians) -> Float[Tensor, "batch n 3 3"]:
    # R S S R^T, the covariance of 3DGS.
    half = rotation_from_quaternion(gaussians.rotations) * gaussians.scales[..., None, :]
    return half @ half.transpose(-1, -2)


def _l1(first: Tensor, second: Tensor) -> Float[Tensor, ""]:
    return (first - second).abs().mean()


def _normalised(cameras: Cameras, size: Sequence[int]) -> Float[Tensor, "batch views 3 3"]:
    """Intrinsics in units of the frame's sides."""
    height, width = size
    return cameras.intrinsics / cameras.intrinsics.new_tensor([[width], [height], [1.0]])


def _gradient_distance(student: Tensor, teacher: Tensor) -> Float[Tensor, ""]:
    """Gradients of the difference of maps [..., height, width] per pixel, mean over four scales, as VGGT's losses define it.

    Each scale sums the absolute differences of neighbors in both directions, each at most GRADIENT_LIMIT, over its pixels.
    """
    difference = student - teacher
    scales = []
    # Every second pixel of the level before.
    for level in range(4):
        d = difference[..., :: 2**level, :: 2**level]
        if min(d.shape[-2:]) < 2:
            break
        steps = [d.diff(dim=axis).abs().clamp(max=GRADIENT_LIMIT).sum() for axis in (-1, -2)]
        scales.append((steps[0] + steps[1]) / d.numel())
    return torch.stack(scales).mean() if scales else difference.new_zeros(())
