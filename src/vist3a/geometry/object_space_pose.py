"""Camera pose from points and the rays that see them (the perspective-n-point problem), by object-space errors.

The error of a point is its distance to the ray that should meet it. Weighted squares of it are a quadratic form in the
rotation alone once the translation is eliminated (Lu, Hager and Mjolsness, 2000; Terzakis and Lourakis, 2020), so that a
minimisation costs the same for any number of points. Not differentiable; meant for float64.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

START_STEPS, ROUND_STEPS = 30, 5


def pose_from_rays(
    points: Float[Tensor, "batch n 3"],
    rays: Float[Tensor, "batch n 3"],
    weights: Float[Tensor, "batch n"],
    floor: Float[Tensor, " batch"],
    rounds: int = 10,
) -> Float[Tensor, "batch 4 4"]:
    """World-to-camera poses that minimise the weighted sum of sin(angle) between the rays and the points' directions.

    Angles, not their squares, so that outliers do not rule: each of ``rounds`` solves a weighted least-squares problem
    (Weiszfeld's scheme) in which angles below ``floor`` (radians) count as that much. The first problem is solved from
    several starts: the identity and its half turns, the direct linear solution, and the one for points on a plane.

    Args:
        points: World points, all finite; those of weight 0 do not count.
        rays: Directions in the camera frame, any length.
        weights: At least 0.
        floor: Positive.
        rounds: Reweighted problems after the first.
    """
    rays = F.normalize(rays, dim=-1)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-12)
    # Principal axes of the points, the flattest last, with their mean distance as unit: all tolerances are relative.
    middle = (weights[..., None] * points).sum(1, keepdim=True)
    centred = points - middle
    unit = (weights * centred.norm(dim=-1)).sum(1).clamp(min=1e-12)[:, None, None]
    axes = torch.linalg.eigh((centred * weights[..., None]).transpose(-1, -2) @ centred)[1].flip(-1).transpose(-1, -2)
    # Eigenvectors may form a mirrored frame; the sign of the last one makes it a rotation.
    axes = torch.cat([axes[:, :2], torch.det(axes)[:, None, None] * axes[:, 2:]], dim=1)
    local = centred / unit @ axes.transpose(-1, -2)
    form = _ObjectSpaceForm(local, rays, weights)
    # The form has several minima: descend from every start and keep the best.
    starts = [_descend(form, start, START_STEPS) for start in _starts(form, axes)]
    # The chord of the angle, unlike its sine, tells a point behind the camera from one before it.
    chords = [(F.normalize(form.placed(local, start), dim=-1) - rays).norm(dim=-1) for start in starts]
    best = torch.stack([(weights * chord).sum(1) for chord in chords]).argmin(0)
    turned = torch.stack(starts)[best, torch.arange(len(points), device=points.device)]
    # Weiszfeld: a squared sine over the sine of the round before is a sine; the distance turns lengths into sines.
    for _ in range(rounds):
        placed = form.placed(local, turned)
        # A point at the camera's center has no direction; the floor bounds its weight.
        distance = placed.norm(dim=-1).clamp(min=1e-2)
        sine = (placed - (placed * rays).sum(-1, keepdim=True) * rays).norm(dim=-1) / distance
        form = _ObjectSpaceForm(local, rays, weights / (distance.square() * torch.maximum(sine, floor[:, None])))
        turned = _descend(form, turned, ROUND_STEPS)
    # Back to the caller's axes and unit.
    rotation = turned @ axes
    translation = form.translation(turned)[..., None] * unit - rotation @ middle.transpose(-1, -2)
    pose = torch.eye(4, dtype=points.dtype, device=points.device).repeat(len(points), 1, 1)
    pose[:, :3, :3], pose[:, :3, 3:] = rotation, translation
    return pose


class _ObjectSpaceForm:
    """Sum of w |(I - q q^T) (R x + t)|^2 over points x with unit rays q, at the best t for each R.

    ``matrix`` is the form in the nine entries of R, column by column; ``to_translation`` maps these to the best t.
    """

    def __init__(self, points: Tensor, rays: Tensor, weights: Tensor) -> None:
        homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
        # sums[i, j] is the sum of w x_i x_j (I - q q^T) over homogeneous points: all that the error needs to know of them.
        outer = (homogeneous[..., :, None] * homogeneous[..., None, :]).flatten(-2) * weights[..., None]
        projectors = (_identity(points) - rays[..., :, None] * rays[..., None, :]).flatten(-2)
        sums = (outer.transpose(-1, -2) @ projectors).unflatten(1, (4, 4)).unflatten(3, (3, 3))
        # Row 3 i + r and column 3 j + s of the form belong to the entries R[r, i] and R[s, j].
        rotation = sums[:, :3, :3].transpose(2, 3).flatten(3, 4).flatten(1, 2)
        mixed = sums[:, 3, :3].transpose(1, 2).flatten(2)
        # The best t is where the derivative by t is zero, linear in R; put back, it leaves a form in R alone.
        self.to_translation = -torch.linalg.solve(_damped(sums[:, 3, 3], 1e-13), mixed)
        self.matrix = rotation + mixed.transpose(-1, -2) @ self.to_translation

    def translation(self, rotation: Tensor) -> Tensor:
        """The best translation of a rotation; linear, so that any 3x3 matrix will do."""
        return (self.to_translation @ _columns(rotation)[..., None]).squeeze(-1)

    def placed(self, points: Tensor, rotation: Tensor) -> Tensor:
        """Points in the camera frame."""
        return points @ rotation.transpose(-1, -2) + self.translation(rotation)[:, None]

    def cost(self, rotation: Tensor) -> Tensor:
        r = _columns(rotation)[..., None]
        return (r.transpose(-1, -2) @ self.matrix @ r)[:, 0, 0]


def _starts(form: _ObjectSpaceForm, axes: Tensor) -> list[Tensor]:
    """Rotations ``[batch, 3, 3]`` to descend from."""

    def in_front(matrix: Tensor) -> Tensor:
        # The sign of an eigenvector is that which puts the points' centre before the camera.
        return torch.where(form.translation(matrix)[:, 2:, None] < 0, -matrix, matrix)

    # Diagonals such as (1, -1, -1): the half turns about the three axes.
    turns = _identity(axes)[None] * (2 * _identity(axes)[:, None] - 1)
    # The minimum over all matrices of unit norm is the eigenvector of the smallest eigenvalue.
    smallest = torch.linalg.eigh(form.matrix)[1][..., 0]
    linear = _nearest_rotation(in_front(smallest.unflatten(-1, (3, 3)).transpose(-1, -2)))
    # For points on a plane the third column is free: solve for the first two alone.
    smallest = F.pad(torch.linalg.eigh(form.matrix[:, :6, :6])[1][..., 0], (0, 3))
    first, second, _ = in_front(smallest.unflatten(-1, (3, 3)).transpose(-1, -2)).unbind(-1)
    # Both columns carry the same unknown factor; after the division the third carries it, too.
    third = torch.linalg.cross(first, second) / first.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    planar = _nearest_rotation(torch.stack([first, second, third], dim=-1))
    # In the frame of the principal axes; times ``axes`` these are the identity and its half turns.
    return [linear, planar, *(turn @ axes.transpose(-1, -2) for turn in (_identity(axes), *turns))]


def _descend(form: _ObjectSpaceForm, rotation: Tensor, steps: int) -> Tensor:
    """Levenberg-Marquardt over rotations; a step is taken only where it lowers the cost."""
    # Cross-product matrices of the axes: the basis of all infinitesimal rotations.
    generators = torch.linalg.cross(_identity(rotation)[:, None], _identity(rotation)[None]).transpose(1, 2)
    damping = rotation.new_full((len(rotation), 1, 1), 1e-6)
    cost = form.cost(rotation)
    for _ in range(steps):
        # Derivative of R exp(w) by the rotation vector w at 0.
        jacobian = _columns(rotation[:, None] @ generators).transpose(-1, -2)
        slope = jacobian.transpose(-1, -2) @ form.matrix @ _columns(rotation)[..., None]
        curvature = jacobian.transpose(-1, -2) @ form.matrix @ jacobian
        step = -torch.linalg.solve(_damped(curvature, damping), slope).squeeze(-1)
        moved = rotation @ torch.matrix_exp(torch.einsum("nk,kij->nij", step, generators))
        moved_cost = form.cost(moved)
        better = (moved_cost < cost)[:, None, None]
        rotation, cost = torch.where(better, moved, rotation), torch.minimum(moved_cost, cost)
        # Bolder after a success, more cautious after a failure.
        damping = torch.where(better, damping * 0.1, damping * 10).clamp(1e-12, 1e6)
    return rotation


def _nearest_rotation(matrix: Tensor) -> Tensor:
    u, _, vt = torch.linalg.svd(matrix)
    # The sign keeps the result from being a mirroring.
    last = torch.det(u @ vt)[:, None, None]
    return torch.cat([u[..., :2], last * u[..., 2:]], dim=-1) @ vt


def _damped(matrix: Tensor, factor: Tensor | float) -> Tensor:
    """Add ``factor`` times the trace to the diagonal, and what keeps a zero matrix solvable."""
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    return matrix + (factor * trace.abs() + 1e-30) * _identity(matrix)


def _columns(rotation: Tensor) -> Tensor:
    return rotation.transpose(-1, -2).flatten(-2)


def _identity(like: Tensor) -> Tensor:
    return torch.eye(3, dtype=like.dtype, device=like.device)
