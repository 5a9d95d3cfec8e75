"""Holes, hulls and plates of collision meshes by hand, and the mesh as a whole against its parts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fast_simplification import simplify
from scene_cases import frontal_wall
from world_cases import world_scene

from vist3a.export.collision import CollisionMesh, _hull, _plate, _within, collision_mesh, is_closed, largest_hole
from vist3a.export.fusion import fuse_depth
from vist3a.export.glb_file import read_glb
from vist3a.export.mesh import fusion_inputs, largest_pieces, surface
from vist3a.export.mesh_file import save_collision_glb
from vist3a.export.placement import Placement
from vist3a.geometry.ground import Ground, find_ground
from vist3a.records import Reconstruction

FLOOR = torch.tensor([0.48, -0.6, -0.64], dtype=torch.float64)
"""Normal of a tilted ground."""


def test_a_hole_of_a_fiftieth_is_no_flag_yet() -> None:
    nothing = np.zeros((0, 3))
    for hole, flagged in ((0.02, False), (0.0201, True), (0.0, False), (1.0, True)):
        assert CollisionMesh(nothing, nothing.astype(int), None, 1.0, hole, True).flagged == flagged


def test_closed_means_every_edge_runs_both_ways() -> None:
    box = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    assert is_closed(box) and is_closed(box[:, ::-1]) and is_closed(np.concatenate([box, box + 4]))
    for face in range(4):
        assert not is_closed(np.delete(box, face, 0))
    # One face turned: its edges run the same way as its neighbors'.
    turned = box.copy()
    turned[2] = turned[2, ::-1]
    assert not is_closed(turned)
    # Two tetrahedra that touch along an edge: it belongs to four faces, twice each way.
    assert is_closed(np.concatenate([box, np.array([0, 1, 4, 5])[box]]))
    assert not is_closed(np.zeros((0, 3), int))


def cells_open(vertices: np.ndarray, faces: np.ndarray, rim: np.ndarray) -> float:
    """Largest hole by looking at each of 48 x 48 cells and flooding."""
    low, step = rim.min(0), (rim.max(0) - rim.min(0)) / 48
    inside, still_open = 0, set()
    for i in range(48):
        for j in range(48):
            place = low + step * [i + 0.5, j + 0.5]
            if not holds(rim, place):
                continue
            inside += 1
            if not any(holds(vertices[face], place) or holds(vertices[face][::-1], place) for face in faces):
                still_open.add((i, j))
    largest = 0
    while still_open:
        waiting, size = [still_open.pop()], 0
        while waiting:
            i, j = waiting.pop()
            size += 1
            for other in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if other in still_open:
                    still_open.remove(other)
                    waiting.append(other)
        largest = max(largest, size)
    return largest / inside


def holds(polygon: np.ndarray, place: np.ndarray) -> bool:
    """Whether a place lies left of every side."""
    return all(
        (b[0] - a[0]) * (place[1] - a[1]) - (b[1] - a[1]) * (place[0] - a[0]) >= 0
        for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True)
    )


@pytest.mark.parametrize(("seed", "unit"), [(0, 1.0), (1, 100.0)])
def test_the_largest_hole_is_that_of_counting_cells(seed: int, unit: float) -> None:
    """Triangles of either sense, also far beyond the rim, over a polygon that is wider than high and not at the origin."""
    random = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    rim = np.stack([3 * np.cos(angle) + 5, np.sin(angle) - 2], -1)
    middle = random.uniform([1, -3.4], [9, -0.6], (16, 1, 2))
    middle[:4] += [[[-90, 0]], [[90, 0]], [[0, -90]], [[0, 90]]]
    vertices = unit * (middle + random.uniform(-1, 1, (16, 3, 2)) * [1.6, 0.7]).reshape(-1, 2)
    faces, rim = np.arange(48).reshape(16, 3), unit * rim
    found = largest_hole(vertices.copy(), faces, rim)
    assert found == pytest.approx(cells_open(vertices, faces, rim), abs=1e-12)
    assert 0.05 < found < 0.9
    # As large where it is the first part that is met, and where it is the last.
    for mirror in ([-1, 1], [1, -1], [-1, -1]):
        turned = largest_hole(vertices * mirror, faces, (rim * mirror)[:: int(np.prod(mirror))])
        assert turned == pytest.approx(found, abs=0.01)


def test_a_rim_belongs_to_its_polygon() -> None:
    square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    places = np.array([[0.0, 0], [2, 1], [1, 1], [2.001, 1], [1, -0.001], [0, 1.5]])
    assert _within(places, square).tolist() == [True, True, True, False, False, True]
    assert not _within(places[2:3], square[::-1]).any()


def on_the_floor(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random points of a disk of radius 2 in the plane at offset -1.5, and the two axes of the disk."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.nn.functional.normalize(torch.linalg.cross(FLOOR, torch.tensor([1.0, 0, 0]).double()), dim=0)
    axes = torch.stack([first, torch.linalg.cross(FLOOR, first)])
    angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    flat = 2 * torch.stack([angle.cos(), angle.sin()], -1)
    return flat @ axes - 1.5 * FLOOR, axes


def test_the_hull_holds_what_lies_in_the_ground_seen_from_above() -> None:
    points, _ = on_the_floor(4000, 0)
    ground = Ground(FLOOR.float(), -1.5, 0.5)
    # Further above or below than twice the tolerance, or nowhere, is not in it: 0.2.
    beyond = torch.cat([10 * points[:5] + (0.201 + 13.5) * FLOOR, 10 * points[:5] + (13.5 - 0.201) * FLOOR])
    near = 1.2 * points[:3] + (0.3 + 0.199) * FLOOR
    nowhere = torch.full((2, 3), torch.nan).double()
    nowhere[0, 0] = 0.0
    plane, rim = _hull(torch.cat([points, beyond, near, nowhere]).float(), ground, 0.1)
    normal = np.cross(plane.axes[0], plane.axes[1])
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-6)
    np.testing.assert_allclose(normal, FLOOR.numpy(), atol=1e-6)
    flat = plane(np.concatenate([points.numpy(), near.numpy()]))
    # Of 32 directions each has its outermost point, in this order.
    wanted = []
    for turn in range(32):
        direction = [math.cos(turn * math.pi / 16), math.sin(turn * math.pi / 16)]
        wanted.append(flat[(flat @ direction).argmax()])
    kept = [p for i, p in enumerate(wanted) if not any(np.array_equal(p, other) for other in wanted[:i])]
    np.testing.assert_allclose(rim, np.array(kept), atol=1e-5)
    assert 12 < len(rim) <= 32 and np.linalg.norm(rim, axis=1).max() == pytest.approx(2.4, abs=1e-3)
    area = 0.5 * sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(rim, np.roll(rim, -1, 0), strict=True))
    assert area > 10


@pytest.mark.parametrize("axis", range(3))
def test_any_ground_has_two_axes(axis: int) -> None:
    normal = torch.zeros(3)
    normal[axis] = 1
    points = torch.eye(3)[[i for i in range(3) if i != axis]]
    plane, rim = _hull(torch.cat([points, -points]), Ground(normal, 0.0, 1.0), 0.1)
    np.testing.assert_allclose(np.cross(*plane.axes), normal.numpy(), atol=1e-9)
    assert len(rim) == 4
    # A point that is twice the tolerance above or below the ground does not lie in it.
    edge = torch.cat([points, -points, 9 * points + 0.25 * normal, 9 * points - 0.25 * normal])
    np.testing.assert_array_equal(_hull(edge, Ground(normal, 0.0, 1.0), 0.125)[1], rim)


def test_a_plate_is_a_closed_prism_under_the_polygon() -> None:
    ground = Ground(FLOOR, -1.5, 0.5)
    _, axes = on_the_floor(1, 0)
    # Of a normal in single precision it is made in double precision.
    rough = Ground(FLOOR.float(), -1.5, 0.5)
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    top = square @ axes.numpy() - 1.5 * FLOOR.float().double().numpy()
    np.testing.assert_allclose(_plate(rough, axes.numpy(), square, 0.25)[0][:4], top, atol=1e-14, rtol=0)
    angle = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    rim = np.stack([2 * np.cos(angle) + 0.3, np.sin(angle)], -1)
    vertices, faces = _plate(ground, axes.numpy(), rim, 0.25)
    heights = ground.height(torch.from_numpy(vertices)).numpy()
    np.testing.assert_allclose(heights, [0.0] * 5 + [-0.25] * 5, atol=1e-12)
    np.testing.assert_allclose(vertices @ axes.numpy().T, np.concatenate([rim, rim]), atol=1e-12)
    assert len(faces) == 3 + 3 + 10 and is_closed(faces)
    corners = vertices[faces]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    area = 0.5 * sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(rim, np.roll(rim, -1, 0), strict=True))
    assert volume == pytest.approx(area * 0.25)
    # The top is the first, and looks up.
    up = np.cross(corners[:3, 1] - corners[:3, 0], corners[:3, 2] - corners[:3, 0])
    assert (up @ FLOOR.numpy() > 0).all()


def shell(scene: Reconstruction, drop: float, resolution: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What was seen, closed, without pieces of less than half a percent; and the side of a voxel."""
    volume = fuse_depth(*fusion_inputs(scene, drop), resolution)
    return *largest_pieces(*surface(volume, closed=True), 0.005), volume.side


@pytest.mark.parametrize(("most", "resolution"), [(700, 40), (10**6, 20)])
def test_a_collision_mesh_is_shell_and_plate(most: int, resolution: int) -> None:
    scene, _, _, _ = world_scene(0, 1, 32, 4)
    doubtful = replace(
        scene, depth_confidence=torch.rand(scene.depth.shape, generator=torch.Generator().manual_seed(0)),
        points=scene.points.clone().requires_grad_(),
    )  # fmt: skip
    mesh = collision_mesh(doubtful, resolution, most)
    vertices, faces, side = shell(doubtful, 0.1, resolution)
    if most < len(faces):
        vertices, faces = simplify(vertices, faces.astype(np.int32), 1 - most / len(faces))
        vertices = vertices.astype(np.float32)
    assert mesh.vertices.dtype == np.float32 and mesh.faces.dtype == np.int64
    np.testing.assert_array_equal(mesh.vertices[: len(vertices)], vertices)
    np.testing.assert_array_equal(mesh.faces[: len(faces)], faces)
    points = scene.points[0].reshape(-1, 3)
    ground = find_ground(points, scene.cameras[0])
    assert ground is not None and mesh.ground is not None and mesh.ground.offset == ground.offset
    plane, rim = _hull(points, ground, side)
    plate, around = _plate(ground, plane.axes, rim, 2 * side)
    np.testing.assert_array_equal(mesh.vertices[len(vertices) :], plate.astype(np.float32))
    np.testing.assert_array_equal(mesh.faces[len(faces) :], around + len(vertices))
    assert mesh.seen_hole == largest_hole(plane(vertices), faces, rim) > 0
    assert mesh.hole == 0 and mesh.closed == is_closed(mesh.faces)


def test_a_single_depth_is_no_surface() -> None:
    scene = frontal_wall()
    scene.depth_confidence[:] = 0
    scene.depth_confidence[0, 0, 20, 30] = 1
    with pytest.raises(
        ValueError, match="the depth maps meet in no surface; allowed: a scene whose views see the same"
    ):
        collision_mesh(scene, 64, 100)


@pytest.mark.parametrize("most", [3000, 10**6])
def test_without_a_ground_the_shell_stands_alone_and_is_a_file(most: int, tmp_path: Path) -> None:
    mesh = collision_mesh(frontal_wall(), 32, most)
    if most == 10**6:
        vertices, faces, _ = shell(frontal_wall(), 0.1, 32)
        np.testing.assert_array_equal(mesh.vertices, vertices)
        np.testing.assert_array_equal(mesh.faces, faces)
    assert (mesh.seen_hole, mesh.hole, mesh.closed) == (1.0, 1.0, is_closed(mesh.faces))
    save_collision_glb(tmp_path / "mesh.glb", mesh, Placement())
    np.testing.assert_array_equal(read_glb(tmp_path / "mesh.glb")["POSITION"], mesh.vertices)
