"""Closed-form intersections of rays with boxes and bodies of revolution that stand on z = 0, and with dome and room.

All coordinates are separate tensors that broadcast against each other (rays on the last axes); a miss is infinity.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a_lab.procedural.attributes import DOME_RADIUS, ROOM_HALF_SIZE, ROOM_HEIGHT
from vist3a_lab.procedural.scene import Solids

Vector = tuple[Tensor, Tensor, Tensor]
"""x, y, z components that broadcast against each other."""

NEAREST = 1e-4
"""Hits closer than this (world units) are the surface that the ray starts on."""


class Body(NamedTuple):
    """Parameters of one object per ray or per scene (fields as in :class:`Solids`) that broadcast against rays."""

    center_x: Tensor
    center_y: Tensor
    cos_yaw: Tensor
    sin_yaw: Tensor
    present: Tensor
    is_box: Tensor
    radius: Tensor
    height: Tensor
    constant: Tensor
    linear: Tensor
    square: Tensor


def body_at(solids: Solids, position: int, rays: int) -> Body:
    """One object of every scene, with ``rays`` trailing axes to broadcast over."""
    return Body(*(getattr(solids, name)[:, position].reshape(-1, *([1] * rays)) for name in Body._fields))


def to_object(body: Body, vector: Vector, point: bool) -> Vector:
    """World to object frame (foot point at the origin, turned by the yaw); ``point`` or direction."""
    x, y, z = vector
    if point:
        x, y = x - body.center_x, y - body.center_y
    return body.cos_yaw * x + body.sin_yaw * y, body.cos_yaw * y - body.sin_yaw * x, z


def intersect_box(body: Body, origin: Vector, direction: Vector) -> Tensor:
    """Distance to a box |x|, |y| <= radius, 0 <= z <= height from outside."""
    half = body.height / 2
    near, far = (torch.full_like(direction[0], -torch.inf), torch.full_like(direction[0], torch.inf))
    # Slabs: the ray is inside the box between the last entry and the first exit.
    for position, slope, extent in (
        (origin[0], direction[0], body.radius),
        (origin[1], direction[1], body.radius),
        (origin[2] - half, direction[2], half),
    ):
        # A tiny slope for rays along a face: huge distances instead of zero over zero.
        inverse = 1 / torch.where(slope.abs() < 1e-12, torch.full_like(slope, 1e-12), slope)
        middle, reach = -position * inverse, extent * inverse.abs()
        low, high = middle - reach, middle + reach
        near = torch.maximum(near, low)
        far = torch.minimum(far, high)
    return torch.where((near <= far) & (near > NEAREST), near, torch.inf)


def intersect_revolution(body: Body, origin: Vector, direction: Vector) -> Tensor:
    """Distance to a body rho^2 = constant + linear z + square z^2, 0 <= z <= height, from outside.

    The bottom disc is left out: it lies on the ground, so no ray from above the ground meets it first.
    """
    ox, oy, oz = origin
    dx, dy, dz = direction
    # The ray put into the body's equation: a t^2 + 2 half_b t + c = 0.
    a = dx * dx + dy * dy - body.square * dz * dz
    half_b = ox * dx + oy * dy - (body.linear / 2 + body.square * oz) * dz
    c = ox * ox + oy * oy - body.constant - (body.linear + body.square * oz) * oz
    root = (half_b * half_b - a * c).sqrt()
    # The two roots as q / a and c / q avoid cancellation; NaN (a miss) fails every comparison below.
    q = -(half_b + root.copysign(half_b))
    best = torch.full_like(q, torch.inf)
    for t in (q / a, c / q):
        z = oz + t * dz
        best = torch.where((t > NEAREST) & (z >= 0) & (z <= body.height) & (t < best), t, best)
    # The top disc, whose squared radius is the equation's value at the height (zero but for cylinders).
    top = body.constant + (body.linear + body.square * body.height) * body.height
    t = (body.height - oz) / dz
    rho2 = (ox + t * dx) ** 2 + (oy + t * dy) ** 2
    return torch.where((t > NEAREST) & (rho2 <= top) & (t < best), t, best)


def intersect_solid(body: Body, origin: Vector, direction: Vector) -> Tensor:
    """Distance along world rays to one object of every scene."""
    local_origin, local_direction = (to_object(body, origin, True), to_object(body, direction, False))
    box = intersect_box(body, local_origin, local_direction)
    revolution = intersect_revolution(body, local_origin, local_direction)
    distance = torch.where(body.is_box > 0.5, box, revolution)
    return torch.where(body.present > 0.5, distance, torch.inf)


def solid_normal(body: Body, point: Vector) -> Vector:
    """Outward unit normal (object frame) at a surface point (object frame)."""
    x, y, z = point
    half = body.height / 2
    # Box: the face whose relative coordinate is largest.
    bx, by, bz = x / body.radius, y / body.radius, (z - half) / half
    largest = torch.maximum(torch.maximum(bx.abs(), by.abs()), bz.abs())
    zero = torch.zeros_like(largest)
    box_x = torch.where(bx.abs() == largest, bx.sign(), zero)
    box_y = torch.where((by.abs() == largest) & (box_x == 0), by.sign(), zero)
    box_z = torch.where((box_x == 0) & (box_y == 0), bz.sign(), zero)
    # Revolution: gradient of the implicit function, or straight up on the top disc (only cylinders have one).
    gz = -(body.linear / 2 + body.square * z)
    # A cylinder's point belongs to the surface that it is closer to.
    to_side = (body.constant - x * x - y * y).abs() / (2 * body.radius)
    flat = ((body.height - z).abs() < to_side) & (body.linear == 0)
    length = (x * x + y * y + gz * gz).clamp(min=1e-12).rsqrt()
    box = body.is_box > 0.5
    return (
        torch.where(box, box_x, torch.where(flat, zero, x * length)),
        torch.where(box, box_y, torch.where(flat, zero, y * length)),
        torch.where(box, box_z, torch.where(flat, zero + 1, gz * length)),
    )


def intersect_ground(origin: Vector, direction: Vector) -> Tensor:
    """Distance to the plane z = 0 from above."""
    t = -origin[2] / direction[2]
    return torch.where(t > NEAREST, t, torch.inf)


def intersect_shell(is_room: Tensor, origin: Vector, direction: Vector) -> Tensor:
    """Distance from inside to the dome around the origin, or to the walls and the ceiling of the room."""
    ox, oy, oz = origin
    dx, dy, dz = direction
    half_b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - DOME_RADIUS**2
    squared = dx * dx + dy * dy + dz * dz
    # From inside one root is ahead and one behind: the larger one.
    dome = (-half_b + (half_b * half_b - squared * c).sqrt()) / squared
    walls = [(ROOM_HALF_SIZE - p * d.sign()) / d.abs().clamp(min=1e-12) for p, d in ((ox, dx), (oy, dy))]
    ceiling = torch.where(dz > 1e-12, (ROOM_HEIGHT - oz) / dz.clamp(min=1e-12), torch.inf)
    room = torch.minimum(torch.minimum(walls[0], walls[1]), ceiling)
    return torch.where(is_room > 0.5, room, dome)


def nearest_solid(
    solids: Solids, origin: Vector, direction: Vector, objects: int
) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch ..."]]:
    """Distance to the nearest of the first ``objects`` objects and its position (0 where nothing is hit)."""
    rays = direction[0].ndim - 1
    best = torch.full_like(direction[0], torch.inf)
    which = torch.zeros_like(best)
    for position in range(objects):
        distance = intersect_solid(body_at(solids, position, rays), origin, direction)
        which = torch.where(distance < best, torch.full_like(which, position), which)
        best = torch.minimum(best, distance)
    return best, which
