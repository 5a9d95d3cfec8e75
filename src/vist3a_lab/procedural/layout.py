"""From uniforms to scenes: which objects stand where, on which ground, under which sky, and how the camera moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vist3a_lab.procedural import attributes as a
from vist3a_lab.procedural.camera_paths import path_poses
from vist3a_lab.procedural.framing import choose_orientation, fit_distance, image_relations
from vist3a_lab.procedural.scene import CameraPath, SceneBatch, SceneLabels, Solids, Surfaces, Surroundings
from vist3a_lab.procedural.uniforms import SCENE_STREAM, Array, UniformColumns, pick, uniform_blocks

Number = TypeVar("Number", bound=np.generic)

UNIFORMS_PER_SCENE = 256
DEGREE = math.pi / 180
MAX_EXTRA_VIEWS = 16
CAMERA_REACH = 4.6
"""Largest distance of a camera from the vertical axis, inside the room's half-size."""
GAP = (0.12, 0.45)
PATH_PROBABILITY = (0.6, 0.22, 0.18)
"""Orbit, dolly, pan."""
NEAREST_RADIUS = (2.15, 2.55)
"""Camera distance that a lone object gets at least, so that small objects look smaller than large ones."""


def _positions(footprint: Array, count: NDArray[np.int64], gap: Array) -> Array:
    """Foot points of up to three circles that touch up to the gaps, bounding box centred, shape (rows, 3, 2)."""
    rows = len(footprint)
    d01 = footprint[:, 0] + footprint[:, 1] + gap[:, 0]
    d02 = footprint[:, 0] + footprint[:, 2] + gap[:, 1]
    d12 = footprint[:, 1] + footprint[:, 2] + gap[:, 2]
    # Triangle from its sides; three circles with gaps always satisfy the triangle inequality unless a gap is extreme.
    x2 = (d01**2 + d02**2 - d12**2) / (2 * d01)
    y2 = np.sqrt(np.maximum(d02**2 - x2**2, 0.0))
    points = np.zeros((rows, 3, 2))
    points[:, 1, 0] = d01
    points[:, 2, 0] = x2
    points[:, 2, 1] = y2
    present = np.arange(3) < count[:, None]
    low = np.where(present[..., None], points - footprint[..., None], np.inf).min(1)
    high = np.where(present[..., None], points + footprint[..., None], -np.inf).max(1)
    return np.where(present[..., None], points - (low + high)[:, None] / 2, 0.0)


def _camera_path(columns: UniformColumns, rows: int) -> dict[str, Array]:
    kind = columns.choice(PATH_PROBABILITY)[:, 0]
    # All kinds of path draw the same numbers, so that those drawn later do not depend on the kind.
    sign = np.where(columns.take(3) < 0.5, -1.0, 1.0)
    fov = DEGREE * columns.one(48.0, 64.0)
    # Below half of the field of view, so that the horizon stays in the picture.
    elevation = DEGREE * 11.0 + columns.one() * (0.72 * fov / 2 - DEGREE * 11.0)
    amount = columns.one()
    sweep = np.choose(kind, [DEGREE * (12 + 23 * amount), DEGREE * (3 + 6 * amount), np.zeros(rows)]) * sign[:, 0]
    lift = DEGREE * columns.one(-2.5, 2.5)
    dolly = np.choose(kind, [columns.one(0.0, 0.05), columns.one(0.08, 0.20), np.zeros(rows)]) * sign[:, 1]
    truck = np.choose(kind, [np.zeros(rows), np.zeros(rows), columns.one(0.14, 0.30)]) * sign[:, 2]
    return {
        "azimuth": DEGREE * columns.one(0.0, 360.0),
        "elevation": elevation,
        "fov": fov,
        "sweep": sweep,
        "lift": lift,
        "dolly_start": -dolly,
        "dolly_end": dolly,
        "truck": truck,
    }


def _held_out(columns: UniformColumns) -> Array:
    uniforms = columns.take(4 * MAX_EXTRA_VIEWS).reshape(-1, MAX_EXTRA_VIEWS, 4)
    jitter = 2 * uniforms[..., 1:] - 1
    spread = np.array([DEGREE * 6.0, DEGREE * 3.5, 0.06])
    # Angles are added to those of the path, the radius is multiplied.
    offset = jitter * spread + np.array([0.0, 0.0, 1.0])
    return np.concatenate([uniforms[..., :1], offset], axis=-1)


def sample_scenes(
    seed: int,
    indices: Sequence[int],
    *,
    objects: int | None = None,
    dtype: torch.dtype = torch.float32,
    stream: int = SCENE_STREAM,
) -> SceneBatch:
    """Scenes ``indices`` of a seed, on the CPU; scene i depends on (seed, i) only.

    Args:
        seed: Names the world.
        indices: Which scenes, in any order.
        objects: Fixed number of objects (1 to 3) instead of a random one.
        dtype: Type of the parameters (float64 for tests).
        stream: Separates training scenes from those behind sampled prompts.
    """
    if objects not in (None, 1, 2, 3):
        raise ValueError(f"objects must be 1, 2, 3 or None, found {objects}.")
    # The order of the draws is part of a scene's identity: a new one in between would change all scenes.
    columns = UniformColumns(uniform_blocks(seed, indices, UNIFORMS_PER_SCENE, stream))
    rows = len(indices)

    count = columns.choice(a.COUNT_PROBABILITY)[:, 0] + 1
    if objects is not None:
        # In place of the drawn number, which is drawn all the same.
        count = np.full(rows, objects)
    present = np.arange(a.MAX_OBJECTS) < count[:, None]
    shape = columns.choice([1 / 4] * 4, a.MAX_OBJECTS)
    # Distinct colours within a scene, so that a colour names an object.
    colour = np.argsort(columns.take(len(a.COLOURS)), axis=1)[:, : a.MAX_OBJECTS]
    size = columns.choice([1 / 3] * 3, a.MAX_OBJECTS)
    finish = columns.choice(a.FINISH_PROBABILITY, a.MAX_OBJECTS)
    ground = columns.choice([1 / 6] * 6)[:, 0]
    background = columns.choice([1 / 6] * 6)[:, 0]

    scale = pick(a.HALF_SIZE, size) * pick(a.COUNT_SCALE, count - 1)[:, None]
    scale = scale * columns.many(a.MAX_OBJECTS, 0.94, 1.06)
    footprint = pick(a.FOOTPRINT_FACTOR, shape) * scale
    height = pick(a.HEIGHT_FACTOR, shape) * scale
    position = _positions(footprint, count, columns.many(3, *GAP))
    yaw = columns.many(a.MAX_OBJECTS, 0.0, 2 * np.pi)

    path = _camera_path(columns, rows)
    tallest = np.where(present, height, 0.0).max(1)
    path["target_height"] = tallest * columns.one(0.42, 0.58)
    position = choose_orientation(position, footprint, height, present, path, columns.take(16), columns.one())
    alone = (count == 1)[:, None, None]
    position = position + np.where(alone, columns.many(2, -0.18, 0.18)[:, None], 0.0)
    fill = columns.one(0.84, 0.96)
    # Stated for a field of view of 56 degrees; at others the distance that gives the same size in the image.
    nearest = columns.one(*NEAREST_RADIUS) * math.tan(DEGREE * 28.0) / np.tan(path["fov"] / 2)
    path["radius"] = np.maximum(fit_distance(position, footprint, height, shape, present, path, fill), nearest)

    # The dome and the room have a fixed size: scenes that need a distant camera shrink as a whole, which leaves the
    # objects' images as they are and keeps every camera inside.
    reach = path["radius"] * (1.06 * (1 + np.abs(path["dolly_end"])) + 0.5 * np.abs(path["truck"]))
    shrink = np.minimum(1.0, CAMERA_REACH / reach)
    path["radius"], path["target_height"] = (path["radius"] * shrink, path["target_height"] * shrink)
    scale, height, position = (scale * shrink[:, None], height * shrink[:, None], position * shrink[:, None, None])

    path["held_out"] = _held_out(columns)
    camera_path = CameraPath(**{name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in path.items()})
    first_pose = path_poses(camera_path, torch.zeros(rows, 1, dtype=torch.float64))[:, 0].numpy()
    image_x, relations = image_relations(position, height, present, first_pose)
    # Objects are stored from left to right as the first camera sees them; absent ones stay last.
    order = np.argsort(np.where(present, image_x, np.inf), axis=1, kind="stable")

    def sort(values: NDArray[Number]) -> NDArray[Number]:
        return np.take_along_axis(values, order.reshape(order.shape + (1,) * (values.ndim - 2)), axis=1)

    present, shape, colour, size, finish = (sort(present), sort(shape), sort(colour), sort(size), sort(finish))
    scale, position, yaw = sort(scale), sort(position), sort(yaw)
    # Relations were found in the drawn order: looked up where the sorted objects stood.
    relations = np.stack(
        [relations[np.arange(rows), order[:, first], order[:, second]] for first, second in a.PAIRS], axis=1
    )

    albedo = np.clip(pick(a.ALBEDO, colour) + columns.many(9, -0.035, 0.035).reshape(-1, 3, 3), 0.02, 1.0)
    radius, height = (pick(a.RADIUS_FACTOR, shape) * scale, pick(a.HEIGHT_FACTOR, shape) * scale)
    # Sphere rho^2 = 2 r z - z^2, cylinder r^2, cone (r - slope z)^2, as coefficients of z.
    slope = radius / height
    zero = np.zeros_like(radius)
    sphere, cylinder, cone = shape == 0, shape == 2, shape == 3
    solids = {
        "center_x": position[..., 0],
        "center_y": position[..., 1],
        "cos_yaw": np.cos(yaw),
        "sin_yaw": np.sin(yaw),
        "present": present,
        "is_box": shape == 1,
        "radius": radius,
        "height": height,
        "constant": np.select([cylinder | cone], [radius**2], zero),
        "linear": np.select([sphere, cone], [2 * radius, -2 * radius * slope], zero),
        "square": np.select([sphere, cone], [zero - 1, slope**2], zero),
    }
    # The sun stands on the camera's side of the scene, so that the visible faces are lit and shadows fall sideways.
    sun_azimuth = path["azimuth"] + path["sweep"] / 2 + DEGREE * columns.one(-80.0, 80.0)
    sun_elevation = DEGREE * columns.one(38.0, 62.0)
    sun = [
        np.cos(sun_elevation) * np.cos(sun_azimuth),
        np.cos(sun_elevation) * np.sin(sun_azimuth),
        np.sin(sun_elevation),
    ]
    pattern_yaw = columns.one(0.0, 2 * np.pi)
    tint = columns.many(6, -0.025, 0.025)
    surroundings = {
        "ground_colour": pick(a.GROUND_COLOUR, ground) + tint[:, :3],
        "ground_pattern": pick(a.GROUND_PATTERN, ground),
        "ground_frame": np.stack([np.cos(pattern_yaw), np.sin(pattern_yaw), *columns.many(2, 0.0, 4.0).T], -1),
        "phases": columns.many(8, 0.0, 2 * np.pi),
        "horizon": np.clip(pick(a.HORIZON, background) + 0.4 * tint[:, 3:], 0, 1),
        "zenith": pick(a.ZENITH, background),
        "sky": np.stack([pick(table, background) for table in (a.CLOUD_AMOUNT, a.GLOW_AMOUNT, a.IS_ROOM)], -1),
        "sun_direction": np.stack(sun, -1),
        "sun_colour": pick(a.SUN_COLOUR, background),
        "ambient_colour": pick(a.AMBIENT_COLOUR, background),
    }
    surfaces = {"albedo": albedo, "striped": finish == 1, "checkered": finish == 2, "shiny": finish == 3}

    def number(values: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64)).to(dtype)

    def label(values: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))

    def identity(values: NDArray[np.generic]) -> torch.Tensor:
        return label(np.where(present, values, -1))

    return SceneBatch(
        seed=seed,
        indices=torch.tensor([int(index) for index in indices], dtype=torch.int64),
        labels=SceneLabels(
            num_objects=label(count),
            shapes=identity(shape),
            colours=identity(colour),
            sizes=identity(size),
            finishes=identity(finish),
            ground=label(ground),
            background=label(background),
            relations=label(relations),
        ),
        solids=Solids(**{name: number(values) for name, values in solids.items()}),
        surfaces=Surfaces(**{name: number(values) for name, values in surfaces.items()}),
        surroundings=Surroundings(**{name: number(values) for name, values in surroundings.items()}),
        path=camera_path,
    )
