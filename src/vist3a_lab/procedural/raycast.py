"""Ray caster for the procedural world: colour with hard shadows, and exact z-depth at the pixel centres."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records.cameras import Cameras
from vist3a_lab.procedural.attributes import DOME_RADIUS, MAX_OBJECTS, ROOM_HALF_SIZE, ROOM_HEIGHT
from vist3a_lab.procedural.scene import SceneBatch
from vist3a_lab.procedural.shapes import (
    Body,
    Vector,
    body_at,
    intersect_ground,
    intersect_shell,
    nearest_solid,
    solid_normal,
    to_object,
)
from vist3a_lab.procedural.textures import channels, column, finish_pattern, ground_colour, sky_colour, smoothstep

SHADOW_OFFSET = 2e-3
RAYS = 2
"""Trailing axes of ray tensors: views, rays."""


def camera_rays(cameras: Cameras, height: int, width: int, samples: int) -> tuple[Vector, Vector]:
    """Origins (batch, views, 1) and directions (batch, views, height * width * samples^2) with unit z in the camera.

    The samples of a pixel lie on a regular grid in it; with one sample the ray passes through the pixel's centre.
    """
    pose, k = cameras.world_to_camera, cameras.intrinsics
    steps = (torch.arange(max(height, width) * samples, device=pose.device, dtype=pose.dtype) + 0.5) / samples
    y, x = torch.meshgrid(steps[: height * samples], steps[: width * samples], indexing="ij")
    u = (x.flatten() - k[..., 0, 2, None]) / k[..., 0, 0, None]
    v = (y.flatten() - k[..., 1, 2, None]) / k[..., 1, 1, None]
    # Written out instead of matrix products: the result of a ray must not depend on the size of the batch.
    dx, dy, dz = (u * pose[..., 0, i, None] + v * pose[..., 1, i, None] + pose[..., 2, i, None] for i in range(3))
    shift = pose[..., :3, 3]
    ox, oy, oz = (
        -(pose[..., 0, i] * shift[..., 0] + pose[..., 1, i] * shift[..., 1] + pose[..., 2, i] * shift[..., 2])[
            ..., None
        ]
        for i in range(3)
    )
    return (ox, oy, oz), (dx, dy, dz)


def cast_depth(scenes: SceneBatch, origin: Vector, direction: Vector, objects: int = MAX_OBJECTS) -> Tensor:
    """Distance in units of the direction's length to the first surface; z-depth for rays of :func:`camera_rays`."""
    distance, _ = nearest_solid(scenes.solids, origin, direction, objects)
    distance = torch.minimum(distance, intersect_ground(origin, direction))
    return torch.minimum(distance, intersect_shell(column(scenes.surroundings.sky, 2, RAYS), origin, direction))


def _select(scenes: SceneBatch, which: Tensor, objects: int) -> tuple[Body, Tensor, Tensor, Tensor, Tensor]:
    """Parameters of the object that each ray hits: solid, albedo (3, ...), striped, checkered, shiny."""
    first = [body_at(scenes.solids, k, RAYS) for k in range(objects)]
    surfaces = scenes.surfaces

    def choose(values: list[Tensor]) -> Tensor:
        result = values[0]
        for k in range(1, objects):
            result = torch.where(which == k, values[k], result)
        return result

    # Selected field by field, so that what follows shades one object per ray.
    body = Body(*(choose(list(values)) for values in zip(*first, strict=True)))
    albedo = choose([channels(surfaces.albedo[:, k], RAYS) for k in range(objects)])
    finishes = [
        choose([column(w, k, RAYS) for k in range(objects)])
        for w in (surfaces.striped, surfaces.checkered, surfaces.shiny)
    ]
    return body, albedo, finishes[0], finishes[1], finishes[2]


def shade(
    scenes: SceneBatch, origin: Vector, direction: Vector, pixel_angle: Tensor, objects: int = MAX_OBJECTS
) -> Float[Tensor, "3 batch views rays"]:
    """Colour of rays (directions as in :func:`camera_rays`); ``pixel_angle`` is the tangent that a pixel spans."""
    s, solids = scenes.surroundings, scenes.solids
    # Unit vectors for shading; depth is cast along the unscaled rays.
    inverse = (direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2).rsqrt()
    view: Vector = (direction[0] * inverse, direction[1] * inverse, direction[2] * inverse)
    is_room = column(s.sky, 2, RAYS)
    t_solid, which = nearest_solid(solids, origin, view, objects)
    t_ground = intersect_ground(origin, view)
    t_shell = intersect_shell(is_room, origin, view)
    on_solid = (t_solid < t_ground) & (t_solid < t_shell)
    on_ground = ~on_solid & (t_ground < t_shell)
    t = torch.minimum(torch.minimum(t_solid, t_ground), t_shell)
    x, y, z = (o + t * d for o, d in zip(origin, view, strict=True))
    pixel = t * pixel_angle

    # Objects.
    body, albedo, striped, checkered, shiny = _select(scenes, which, objects)
    local = to_object(body, (x, y, z), True)
    lx, ly, nz = solid_normal(body, local)
    nx, ny = (body.cos_yaw * lx - body.sin_yaw * ly, body.sin_yaw * lx + body.cos_yaw * ly)
    facing = -(nx * view[0] + ny * view[1] + nz * view[2])
    # A surface seen at a slant spreads the pixel; the limit keeps rims from losing their pattern.
    second = finish_pattern(local, body.radius, body.height, striped, checkered, pixel / facing.clamp(min=0.35))
    # The second colour is lighter than dark colours and darker than light ones, and stays the same hue.
    luminance = 0.3 * albedo[0] + 0.59 * albedo[1] + 0.11 * albedo[2]
    other = torch.where(luminance > 0.6, albedo * 0.58, albedo + (0.92 - albedo) * 0.55)
    solid_albedo = albedo + (other - albedo) * second

    # Ground.
    # Geometric mean of the pixel's width and length on the ground.
    footprint = pixel / view[2].abs().clamp(min=0.08).sqrt()
    floor = ground_colour(s, x, y, footprint)

    # Light.
    zero = torch.zeros_like(t)
    nx, ny = torch.where(on_solid, nx, zero), torch.where(on_solid, ny, zero)
    nz = torch.where(on_solid, nz, zero + 1)
    sun = tuple(column(s.sun_direction, i, RAYS) for i in range(3))
    incidence = nx * sun[0] + ny * sun[1] + nz * sun[2]
    # Shadow rays start a little above the surface, or it would shadow itself.
    start = (x + nx * SHADOW_OFFSET, y + ny * SHADOW_OFFSET, z + nz * SHADOW_OFFSET)
    toward: Vector = (sun[0].expand_as(t), sun[1].expand_as(t), sun[2].expand_as(t))
    t_shadow, _ = nearest_solid(solids, start, toward, objects)
    lit = torch.where(torch.isinf(t_shadow), incidence.clamp(min=0), zero)
    # The ground darkens softly around the foot of every object.
    contact = torch.ones_like(t)
    for k in range(objects):
        other_body = body_at(solids, k, RAYS)
        gap = ((x - other_body.center_x) ** 2 + (y - other_body.center_y) ** 2) / (1.25 * other_body.radius) ** 2
        contact = contact * (1 - 0.35 * other_body.present * torch.exp(-gap * gap))
    hemisphere = torch.where(on_solid, 0.84 + 0.16 * nz, contact)
    ambient, sun_colour = channels(s.ambient_colour, RAYS), channels(s.sun_colour, RAYS)
    light = ambient * hemisphere + sun_colour * lit
    colour = torch.where(on_solid, solid_albedo, floor) * light

    # Shiny objects mirror the surroundings towards the rim and show a highlight.
    rx, ry, rz = (d + 2 * facing * n for d, n in zip(view, (nx, ny, nz), strict=True))
    above = sky_colour(s, rx, ry, rz, clouds=False)
    below = channels(s.ground_colour, RAYS) * (ambient + 0.6 * sun_colour)
    mirrored = below + (above - below) * smoothstep(-0.15, 0.1, rz)
    # As Schlick's approximation, with a gentler power.
    fresnel = shiny * (0.08 + 0.55 * (1 - facing.clamp(0, 1)) ** 3)
    highlight = (rx * sun[0] + ry * sun[1] + rz * sun[2]).clamp(min=0) ** 24
    gloss = colour + (mirrored - colour) * fresnel + 0.75 * shiny * highlight * (lit > 0)
    colour = torch.where(on_solid, gloss, colour)

    # Dome or room.
    scale = 1 / DOME_RADIUS
    dome = sky_colour(s, x * scale, y * scale, z * scale)
    wall = channels(s.horizon, RAYS) * torch.where(x.abs() > ROOM_HALF_SIZE * 0.9999, zero + 1.0, zero + 0.9)
    # Skirting board: the limits are swapped, so that the step falls with the height.
    wall = wall * (1 - 0.38 * smoothstep(0.34, 0.24, z))
    wall = torch.where(z > ROOM_HEIGHT * 0.9999, channels(s.zenith, RAYS), wall)
    shell = torch.where(is_room > 0.5, wall, dome)
    return torch.where(on_solid | on_ground, colour, shell).clamp(0, 1)


def trace(
    scenes: SceneBatch, cameras: Cameras, height: int, width: int, supersample: int, objects: int = MAX_OBJECTS
) -> tuple[Float[Tensor, "batch views 3 {height} {width}"], Float[Tensor, "batch views {height} {width}"]]:
    """Colour and z-depth of all views at once, without data-dependent control flow (for ``torch.compile``)."""
    origin, direction = camera_rays(cameras, height, width, supersample)
    pixel_angle = 1 / cameras.intrinsics[..., 1, 1, None]
    colour = shade(scenes, origin, direction, pixel_angle, objects)
    blocks = colour.reshape(*colour.shape[:-1], height, supersample, width, supersample)
    rgb = blocks.mean((-3, -1)).permute(1, 2, 0, 3, 4)
    # Depth belongs to the pixel's centre: the nearest of the colour samples would be biased towards the camera on
    # slanted surfaces, and unprojected points would then not lie on them.
    if supersample == 1:
        center = direction
    else:
        _, center = camera_rays(cameras, height, width, 1)
    depth = cast_depth(scenes, origin, center, objects)
    return rgb.contiguous(), depth.reshape(*depth.shape[:2], height, width)


def render(
    scenes: SceneBatch,
    cameras: Cameras,
    height: int = 64,
    width: int = 64,
    *,
    supersample: int = 2,
    max_rays: int | None = None,
) -> tuple[Float[Tensor, "batch views 3 {height} {width}"], Float[Tensor, "batch views {height} {width}"]]:
    """Images in [0, 1] and finite z-depth (world units) of scenes, in the scenes' dtype and on their device.

    Args:
        scenes: A batch of scenes.
        cameras: Cameras [batch, views] with intrinsics for ``height`` x ``width``.
        height: Rows.
        width: Columns.
        supersample: Colour samples per pixel and axis; depth is cast through the pixel's centre.
        max_rays: Rays handled at once, which bounds the memory (about 400 bytes a ray); views and scenes are chunked.
    """
    on_cpu = scenes.device.type == "cpu"
    if max_rays is None:
        max_rays = 1 << 18 if on_cpu else 1 << 23
    views = cameras.world_to_camera.shape[1]
    rays = height * width * supersample**2
    view_chunk = max(1, min(views, max_rays // rays))
    # One scene at a time on the CPU, which tests no more objects than it has.
    scene_chunk = 1 if on_cpu else max(1, max_rays // (rays * view_chunk))
    rgb = torch.empty(len(scenes), views, 3, height, width, device=scenes.device, dtype=scenes.dtype)
    depth = torch.empty(len(scenes), views, height, width, device=scenes.device, dtype=scenes.dtype)
    for first in range(0, len(scenes), scene_chunk):
        group = scenes[first : first + scene_chunk]
        # Absent objects change nothing; on the CPU, where reading the count costs nothing, they are not even tested.
        objects = int(group.labels.num_objects.max()) if on_cpu else MAX_OBJECTS
        for view in range(0, views, view_chunk):
            part = slice(first, first + scene_chunk), slice(view, view + view_chunk)
            rgb[part], depth[part] = trace(group, cameras[part], height, width, supersample, objects)
    return rgb, depth
