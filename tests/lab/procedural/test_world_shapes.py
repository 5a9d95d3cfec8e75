"""Closed-form intersections against an oracle that knows only which points lie inside a shape."""

import math

import pytest
import torch

from vist3a_lab.procedural import SHAPES, sample_scenes
from vist3a_lab.procedural.attributes import DOME_RADIUS, ROOM_HALF_SIZE, ROOM_HEIGHT
from vist3a_lab.procedural.shapes import Body, body_at, intersect_shell, intersect_solid, solid_normal, to_object

RAYS = 1500


def inside(shape: str, body: Body, point: torch.Tensor) -> torch.Tensor:
    """Textbook membership, from radius and height alone."""
    c, s = body.cos_yaw, body.sin_yaw
    dx, dy, z = (point[..., 0] - body.center_x, point[..., 1] - body.center_y, point[..., 2])
    x, y = c * dx + s * dy, -s * dx + c * dy
    r, h = body.radius, body.height
    rho = torch.hypot(x, y)
    if shape == "sphere":
        return rho**2 + (z - r) ** 2 <= r**2
    if shape == "cube":
        return (x.abs() <= r) & (y.abs() <= r) & (z >= 0) & (z <= h)
    if shape == "cylinder":
        return (rho <= r) & (z >= 0) & (z <= h)
    return (z >= 0) & (z <= h) & (rho <= r * (1 - z / h))


def oracle(shape: str, body: Body, origin: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """First entry along unit rays: dense samples, then bisection."""
    steps = torch.linspace(0, 8, 4001, dtype=origin.dtype)
    hit = inside(shape, body, origin[:, None] + steps[:, None] * direction[:, None])
    first = hit.to(torch.uint8).argmax(1)
    high, low = steps[first], steps[(first - 1).clamp(min=0)]
    for _ in range(50):
        middle = (low + high) / 2
        entered = inside(shape, body, (origin + middle[:, None] * direction)[:, None])[:, 0]
        high, low = (torch.where(entered, middle, high), torch.where(entered, low, middle))
    return torch.where(hit.any(1), high, torch.inf)


def one_body(shape: str) -> Body:
    scenes = sample_scenes(2, range(60), objects=1, dtype=torch.float64)
    row = int((scenes.labels.shapes[:, 0] == SHAPES.index(shape)).nonzero()[0])
    return Body(*(values[row] for values in body_at(scenes.solids, 0, 1)))


def rays_towards(body: Body) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    angle = torch.rand(RAYS, generator=generator, dtype=torch.float64) * 2 * math.pi
    height = torch.rand(RAYS, generator=generator, dtype=torch.float64) * 3 + 0.05
    origin = torch.stack([3 * angle.cos(), 3 * angle.sin(), height], -1)
    middle = torch.stack([body.center_x[0], body.center_y[0], body.height[0] / 2])
    aim = middle + torch.randn(RAYS, 3, generator=generator, dtype=torch.float64) * 0.5
    # Rays that reach the ground before the body are none of its business: keep the aim above the ground.
    aim[:, 2] = aim[:, 2].abs()
    return origin, torch.nn.functional.normalize(aim - origin, dim=-1)


@pytest.mark.parametrize("shape", SHAPES)
def test_distance_agrees_with_bisection(shape):
    body = one_body(shape)
    origin, direction = rays_towards(body)
    expected = oracle(shape, body, origin, direction)
    found = intersect_solid(body, tuple(origin.unbind(-1)), tuple(direction.unbind(-1)))
    ground = -origin[:, 2] / direction[:, 2]
    # A ray under the bottom disc is blocked by the ground first; the renderer never asks for it.
    matters = ~((ground > 0) & (ground <= torch.minimum(expected, found) + 1e-9))
    # The oracle steps over grazing chords shorter than its step.
    grazing = torch.isinf(expected) & torch.isfinite(found)
    assert grazing[matters].double().mean() < 0.01
    compare = matters & ~grazing
    assert torch.isfinite(expected[compare]).double().mean() > 0.3
    assert torch.equal(torch.isinf(expected[compare]), torch.isinf(found[compare]))
    hits = compare & torch.isfinite(expected)
    # A grazing first chord that the oracle steps over cannot exist: the bodies are convex.
    torch.testing.assert_close(found[hits], expected[hits], atol=1e-8, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_point_outwards_and_are_orthogonal_to_the_surface(shape):
    body = one_body(shape)
    origin, direction = rays_towards(body)
    t = intersect_solid(body, tuple(origin.unbind(-1)), tuple(direction.unbind(-1)))
    hit = torch.isfinite(t)
    point = origin + torch.where(hit, t, 1.0)[:, None] * direction
    local = torch.stack(to_object(body, tuple(point.unbind(-1)), True), -1)
    normal = torch.stack(solid_normal(body, tuple(local.unbind(-1))), -1)
    torch.testing.assert_close(normal[hit].norm(dim=-1), torch.ones(int(hit.sum()), dtype=torch.float64))
    c, s = body.cos_yaw, body.sin_yaw
    world = torch.stack([c * normal[:, 0] - s * normal[:, 1], s * normal[:, 0] + c * normal[:, 1], normal[:, 2]], -1)
    facing = (world * direction).sum(-1)
    assert (facing[hit] < 1e-9).all()
    step = 1e-5
    edge_free = hit & (facing < -0.05) & (point[:, 2] > 1e-3)
    assert not inside(shape, body, (point + step * world)[:, None])[:, 0][edge_free].any()
    # Inwards, all but the rays that met an edge or the tip within the step.
    assert inside(shape, body, (point - step * world)[:, None])[:, 0][edge_free].double().mean() > 0.999


@pytest.mark.parametrize("room", [0.0, 1.0])
def test_shell_is_hit_from_inside(room):
    generator = torch.Generator().manual_seed(1)
    origin = (torch.rand(500, 3, generator=generator, dtype=torch.float64) - 0.5) * torch.tensor([8.0, 8.0, 4.0])
    origin[:, 2] = origin[:, 2].abs() + 0.1
    direction = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator, dtype=torch.float64), dim=-1)
    direction[:, 2] = direction[:, 2].abs()
    t = intersect_shell(torch.tensor(room, dtype=torch.float64), tuple(origin.unbind(-1)), tuple(direction.unbind(-1)))
    point = origin + t[:, None] * direction
    if room:
        share = torch.stack(
            [point[:, 0].abs() / ROOM_HALF_SIZE, point[:, 1].abs() / ROOM_HALF_SIZE, point[:, 2] / ROOM_HEIGHT]
        )
        torch.testing.assert_close(share.max(0).values, torch.ones(500, dtype=torch.float64))
    else:
        torch.testing.assert_close(point.norm(dim=-1), torch.full((500,), DOME_RADIUS, dtype=torch.float64))
    assert (t > 0).all()


def test_objects_do_not_overlap():
    scenes = sample_scenes(4, range(200), dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    grid = torch.rand(1500, 3, generator=generator, dtype=torch.float64) * torch.tensor([6.0, 6.0, 2.0]) - torch.tensor(
        [3.0, 3.0, 0.0]
    )
    for row in range(200):
        members = torch.zeros(len(grid))
        for place in range(int(scenes.labels.num_objects[row])):
            body = Body(*(values[row] for values in body_at(scenes.solids, place, 1)))
            members += inside(SHAPES[scenes.labels.shapes[row, place]], body, grid)
        assert members.max() <= 1
