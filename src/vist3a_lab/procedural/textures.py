"""Soft procedural textures. Every pattern fades as its period approaches the size of a pixel on the surface."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vist3a_lab.procedural.attributes import GROUND_FIELDS
from vist3a_lab.procedural.scene import Surroundings

GOLDEN = 0.6180339887498949
PLASTIC = 0.7548776662466927
"""Irrational steps: neighbouring cells get tints that look random, computed without fragile hashes."""


def channels(colour: Tensor, rays: int) -> Tensor:
    """(batch, 3) to (3, batch, 1, ...) so that colours broadcast over rays with the channels in front."""
    return colour.transpose(0, 1).reshape(3, -1, *([1] * rays))


def column(values: Tensor, position: int, rays: int) -> Tensor:
    """One column of (batch, columns) with ``rays`` trailing axes to broadcast over."""
    return values[:, position].reshape(-1, *([1] * rays))


def smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    """Cubic step from 0 at ``low`` to 1 at ``high``."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def visible(period: Tensor | float, footprint: Tensor) -> Tensor:
    """Contrast that is left of a pattern of this period under a pixel of this footprint (1 to 0)."""
    # Full contrast up to a fifth of the period, none from three fifths on, before it would alias.
    return (1.5 - 2.5 * footprint / period).clamp(0, 1)


def square_wave(phase: Tensor, period: Tensor, footprint: Tensor) -> Tensor:
    """Soft wave in [-1, 1] of a phase in radians; its edges widen with the footprint."""
    width = (2 * math.pi * 0.6 * footprint / period).clamp(min=0.2)
    return (phase.sin() / width).clamp(-1, 1) * visible(period, footprint)


def finish_pattern(
    point: tuple[Tensor, Tensor, Tensor],
    radius: Tensor,
    height: Tensor,
    striped: Tensor,
    checkered: Tensor,
    footprint: Tensor,
) -> Tensor:
    """Amount in [0, 1] of the finish's second colour at a point in the object frame (0 for plain objects)."""
    x, y, z = point
    period = height / 2.5
    stripes = 0.5 - 0.5 * square_wave(2 * math.pi * z / period + 0.9, period, footprint)
    # Shifted by a quarter period, so that no face of a box coincides with a change of cell.
    cell = 1.9 * radius
    waves = [square_wave(2 * math.pi * (c / cell + 0.25 * s), cell, footprint) for c, s in ((x, 1), (y, 1), (z, 0))]
    checks = 0.5 - 0.5 * waves[0] * waves[1] * waves[2]
    return striped * stripes + checkered * checks


def ground_colour(surroundings: Surroundings, x: Tensor, y: Tensor, footprint: Tensor) -> Tensor:
    """Colour (3, batch, ...) of the ground at world points: tinted cells with joints, plus smooth noise."""
    rays = x.ndim - 1
    frame, phases = surroundings.ground_frame, surroundings.phases
    cos, sin = column(frame, 0, rays), column(frame, 1, rays)
    u = cos * x + sin * y + column(frame, 2, rays)
    v = cos * y - sin * x + column(frame, 3, rays)
    p = {name: column(surroundings.ground_pattern, i, rays) for i, name in enumerate(GROUND_FIELDS)}

    # Lattice: rows of cells, each shifted against the row before.
    row = v / p["cell_y"]
    row_index = row.floor()
    place = u / p["cell_x"] + p["row_shift"] * row_index
    place_index = place.floor()
    in_row, in_place = row - row_index, place - place_index
    edge = torch.minimum(
        torch.minimum(in_row, 1 - in_row) * p["cell_y"], torch.minimum(in_place, 1 - in_place) * p["cell_x"]
    )
    smallest = torch.minimum(p["cell_x"], p["cell_y"])
    # Joints are at least as soft as a pixel is wide.
    soft = torch.maximum(footprint, p["joint_width"])
    joint = ((p["joint_width"] + 0.5 * soft - edge) / soft).clamp(0, 1) * visible(smallest, footprint)
    cell = torch.cos(2 * math.pi * (GOLDEN * row_index + PLASTIC * place_index) + column(phases, 0, rays))
    checker_period = 2 * smallest
    checker = square_wave(math.pi * row, checker_period, footprint) * square_wave(
        math.pi * place, checker_period, footprint
    )

    # Noise: three waves in different directions, with phases of the scene's own.
    nx, ny = p["noise_x"], p["noise_y"]
    noise_fade = visible(1 / torch.maximum(nx, ny), footprint)
    turn = 2 * math.pi
    noise = (
        torch.sin(turn * (nx * u + 0.3 * ny * v) + column(phases, 1, rays))
        + torch.sin(turn * (ny * v - 0.4 * nx * u) + column(phases, 2, rays))
        + torch.sin(turn * (0.7 * nx * u + 0.8 * ny * v) + column(phases, 3, rays))
    ) / 3
    ripple = torch.sin(turn * (1.5 * v + 0.08 * torch.sin(turn * 0.4 * u)) + column(phases, 4, rays)) * visible(
        0.67, footprint
    )

    factor = (
        1
        + p["cell_amount"] * cell * visible(smallest, footprint)
        + p["noise_amount"] * noise * noise_fade
        + p["ripple_amount"] * ripple
        - p["checker_amount"] * (0.5 - 0.5 * checker)
    )
    base = channels(surroundings.ground_colour, rays)
    joint_colour = torch.where(p["joint_amount"] < 0, torch.full_like(base, 0.8), base * 0.45)
    weight = joint * p["joint_amount"].abs() * 1.6
    return base * factor * (1 - weight) + joint_colour * weight


def sky_colour(surroundings: Surroundings, x: Tensor, y: Tensor, z: Tensor, clouds: bool = True) -> Tensor:
    """Colour (3, batch, ...) of the dome in a unit direction; in rooms from the wall's colour up to the ceiling's."""
    rays = x.ndim - 1
    horizon, zenith = (channels(surroundings.horizon, rays), channels(surroundings.zenith, rays))
    rise = smoothstep(-0.02, 0.55, z)
    colour = horizon + (zenith - horizon) * rise
    sun = surroundings.sun_direction
    # How much a direction faces the sun seen from above; the 0.05 keeps the zenith finite.
    toward = (x * column(sun, 0, rays) + y * column(sun, 1, rays)) / (x * x + y * y + 0.05).sqrt()
    glow = column(surroundings.sky, 1, rays) * torch.exp(1.5 * (toward - 0.7)) * (1 - rise)
    warm = colour.new_tensor([0.25, 0.22, -0.05]).reshape(3, *([1] * (rays + 1)))
    colour = colour + glow * warm
    if clouds:
        phases = surroundings.phases
        wave = (
            torch.sin(5.0 * x + 2.0 * y + column(phases, 5, rays))
            + torch.sin(5.5 * y - 2.5 * x + 6.0 * z + column(phases, 6, rays))
            + torch.sin(9.0 * z + 3.0 * x + column(phases, 7, rays))
        ) / 3
        puff = column(surroundings.sky, 0, rays) * smoothstep(-0.5, 0.7, wave)
        colour = colour + puff * (0.97 - colour)
    return colour
