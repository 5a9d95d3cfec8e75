"""Errors of reconstructed surfaces: accuracy, completeness, normal consistency and F-score after alignment (and ICP)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vist3a.geometry.similarity import umeyama
from vist3a.metrics.pointmap import nearest

Find = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
ICP_STEPS = 30
ICP_TOLERANCE = 1e-6
"""Relative change of the error below which ICP stops."""


@dataclass(frozen=True)
class SurfaceErrors:
    """Of one scene, in the target's unit.

    ``accuracy`` is the mean distance from predicted points to the nearest true one, ``completeness`` the other way; each with its
    median. ``normals`` is the mean |cosine| between the normals of such nearest pairs, mean of both ways, and its median;
    ``f_score`` the harmonic mean of the shares of predicted and of true points nearer than the threshold.
    """

    accuracy: float
    completeness: float
    accuracy_median: float
    completeness_median: float
    normals: float
    normals_median: float
    f_score: float


def surface_errors(
    prediction: Float[Tensor, "views height width 3"],
    target: Float[Tensor, "views height width 3"],
    threshold: float,
    valid: Bool[Tensor, "views height width"] | None = None,
    icp_distance: float | None = None,
) -> SurfaceErrors:
    """Compare point maps in different worlds, as the paper's protocol does (section 4.3, after Pi3's evaluation).

    The similarity of the corresponding pixels is applied (Umeyama), then rigid ICP where ``icp_distance`` is given. Points that
    are not finite on either side, or not ``valid``, never count; points whose normal is unknown count for distances only.

    Args:
        prediction: World points per pixel.
        target: True world points per pixel.
        threshold: Distance of the F-score, in the target's unit.
        valid: Pixels that count.
        icp_distance: Largest distance of the pairs that ICP uses, in the target's unit; None for no ICP.

    Raises:
        ValueError: Fewer than three points count.
    """
    usable = torch.isfinite(prediction).all(-1) & torch.isfinite(target).all(-1)
    if valid is not None:
        usable &= valid
    if int(usable.sum()) < 3:
        raise ValueError(f"{int(usable.sum())} points to compare; at least 3 are needed")
    ours, true = prediction[usable].double(), target[usable].double()
    # Neighbours that do not count must not bend the normals of those that do.
    hole = ~usable[..., None]
    our_normals = grid_normals(prediction.double().masked_fill(hole, torch.nan))[usable]
    true_normals = grid_normals(target.double().masked_fill(hole, torch.nan))[usable]
    scale, rotation, translation = umeyama(ours, true)
    ours, our_normals = scale * ours @ rotation.T + translation, our_normals @ rotation.T
    if icp_distance is not None:
        turn, shift = icp(ours, true, icp_distance)
        ours, our_normals = ours @ turn.T + shift, our_normals @ turn.T
    return errors_between(ours, our_normals, true, true_normals, threshold)


def errors_between(
    ours: Float[Tensor, "n 3"],
    our_normals: Float[Tensor, "n 3"],
    true: Float[Tensor, "m 3"],
    true_normals: Float[Tensor, "m 3"],
    threshold: float,
    find: Find = nearest,
) -> SurfaceErrors:
    """Compare points of two surfaces in one world, with their unit normals (NaN: unknown, the point counts for distances only).

    ``find`` gives the distance from every point of its first argument to the nearest of its second, and which that is; a search
    tree does it faster for very many points.

    Example:
        >>> errors_between(points_of_mesh, normals_of_mesh, true_points, true_normals, threshold=0.02).accuracy
        0.011
    """
    forth, there = find(ours, true)
    back, here = find(true, ours)
    # Without sign: which side of a surface is outside, point maps do not say.
    cosines = [(our_normals * true_normals[there]).sum(-1).abs(), (true_normals * our_normals[here]).sum(-1).abs()]
    return SurfaceErrors(
        accuracy=float(forth.mean()),
        completeness=float(back.mean()),
        accuracy_median=float(forth.median()),
        completeness_median=float(back.median()),
        normals=float(torch.stack([c.nanmean() for c in cosines]).mean()),
        normals_median=float(torch.stack([c.nanmedian() for c in cosines]).mean()),
        f_score=f_score(forth, back, threshold),
    )


def f_score(forth: Float[Tensor, " n"], back: Float[Tensor, " m"], threshold: float) -> float:
    """Harmonic mean of the shares of distances below ``threshold``, in [0, 1]; 0 where both shares are.

    Args:
        forth: Distance from every predicted point to the nearest true one.
        back: The other way.
        threshold: In the same unit. A point exactly that far away is not near.

    Example:
        >>> f_score(torch.tensor([0.0, 2.0]), torch.tensor([0.0]), 1.0)
        0.6666666666666666
    """
    precision, recall = ((distance < threshold).double().mean() for distance in (forth, back))
    return float(2 * precision * recall / (precision + recall)) if float(precision + recall) else 0.0


def icp(
    source: Float[Tensor, "n 3"], target: Float[Tensor, "m 3"], distance: float, steps: int = ICP_STEPS
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, " 3"]]:
    """Rigid point-to-point ICP (Besl and McKay, 1992) from the identity: rotation and translation of the source.

    Only pairs nearer than ``distance`` count; fewer than three pairs end it where it is.
    """
    rotation = torch.eye(3, dtype=source.dtype, device=source.device)
    translation = torch.zeros(3, dtype=source.dtype, device=source.device)
    before = torch.inf
    for _ in range(steps):
        moved = source @ rotation.T + translation
        apart, index = nearest(moved, target)
        near = apart < distance
        if int(near.sum()) < 3:
            break
        error = float(apart[near].square().mean())
        if abs(before - error) <= ICP_TOLERANCE * error:
            break
        before = error
        # Always from the source itself: no rounding adds up over the steps.
        _, rotation, translation = umeyama(source[near], target[index[near]], scaled=False)
    return rotation, translation


def grid_normals(points: Float[Tensor, "*views height width 3"]) -> Float[Tensor, "*views height width 3"]:
    """Unit normals of point maps from the differences to the next neighbours on both sides; NaN at borders and holes."""
    normals = torch.full_like(points, torch.nan)
    across = points[..., 1:-1, 2:, :] - points[..., 1:-1, :-2, :]
    down = points[..., 2:, 1:-1, :] - points[..., :-2, 1:-1, :]
    cross = torch.linalg.cross(across, down)
    normals[..., 1:-1, 1:-1, :] = cross / cross.norm(dim=-1, keepdim=True)  # 0 / 0 is NaN: no surface, no normal
    return normals
