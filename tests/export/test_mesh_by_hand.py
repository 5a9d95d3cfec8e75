"""Surfaces, pieces and colors of meshes on volumes of a few voxels, where every vertex is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scene_cases import small_scene
from skimage.measure import marching_cubes
from world_cases import world_scene

from vist3a.export.fusion import Volume, colors_at, fuse_depth
from vist3a.export.mesh import _spread, compact, fusion_inputs, largest_pieces, scene_mesh, surface
from vist3a.records import Cameras


def level(height: float, weight: float = 1.0) -> Volume:
    """Outside above, inside below a plane across the last axis of 4 x 5 x 6 voxels."""
    distance = np.broadcast_to(np.arange(6) - height, (4, 5, 6)).astype(np.float32)
    return Volume(distance, np.full_like(distance, weight), np.array([10.0, 20, 30], np.float32), 0.5)


def test_a_plane_has_one_vertex_per_row_of_voxels_up_to_the_border() -> None:
    vertices, faces = surface(level(2.25))
    wanted = {(10 + 0.5 * i, 20 + 0.5 * j, 30 + 0.5 * 2.25) for i in range(4) for j in range(5)}
    assert {tuple(v) for v in vertices.tolist()} == wanted and len(faces) == 2 * 3 * 4
    assert vertices.dtype == np.float32 and faces.dtype == np.int64
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normal[:, 2] > 0).all()


def test_a_shell_is_closed_where_the_volume_ends_and_where_nothing_was_seen() -> None:
    """Between inside, at -d, and outside, at 1, the surface is d / (1 + d) of a voxel away."""
    volume = level(2.25)
    volume.weight[:, :, 0] = 0
    vertices, _ = surface(volume, closed=True)
    heights = (vertices[:, 2] - 30) / 0.5
    # Below the lowest voxel that was seen (-1.25), and before the first voxel of the other axes.
    assert heights.min() == pytest.approx(1 - 1.25 / 2.25, abs=1e-5)
    assert (vertices[:, 0].min() - 10) / 0.5 == pytest.approx(-1.25 / 2.25, abs=1e-5)
    assert (vertices[:, 0].max() - 10) / 0.5 == pytest.approx(3 + 1.25 / 2.25, abs=1e-5)
    opened, _ = surface(volume)
    np.testing.assert_allclose(np.unique(opened[:, 2]), [30 + 0.5 * 2.25])


@pytest.mark.parametrize("volume", [level(0.0), level(-1.0), level(2.25, weight=0.0)])
def test_without_an_inside_there_is_no_surface(volume: Volume) -> None:
    vertices, faces = surface(volume)
    assert vertices.shape == faces.shape == (0, 3)
    assert vertices.dtype == np.float32 and faces.dtype == np.int64


def test_faces_have_vertices_between_two_voxels_that_were_seen() -> None:
    """A random volume: of the faces of marching cubes those stay whose every corner is between seen voxels."""
    random = np.random.default_rng(3)
    distance, weight = random.uniform(-1, 1, (5, 6, 7)).astype(np.float32), random.uniform(-0.4, 1, (5, 6, 7)).clip(0)
    seen = weight > 0
    vertices, faces, _, _ = marching_cubes(
        np.pad(np.where(seen, distance, 1), 1, constant_values=1), 0, gradient_direction="descent"
    )

    def between_seen(vertex: np.ndarray) -> bool:
        ends = [tuple(end.astype(int)) for end in (np.floor(vertex - 1), np.ceil(vertex - 1))]
        return all(min(end) >= 0 and all(np.less(end, seen.shape)) and seen[end] for end in ends)

    good = [between_seen(vertex) for vertex in vertices]
    wanted = [(vertices[face] - 1).tolist() for face in faces if all(good[corner] for corner in face)]
    found, kept = surface(Volume(distance, weight.astype(np.float32), np.zeros(3, np.float32), 1.0))
    np.testing.assert_allclose(found[kept], wanted, atol=1e-6)
    assert 20 < len(wanted) < len(faces) / 2
    # No vertex is left that no face has.
    assert sorted(set(kept.reshape(-1))) == list(range(len(found)))


def test_unused_vertices_go_and_faces_follow() -> None:
    vertices = np.arange(15.0).reshape(5, 3)
    found, faces = compact(vertices, np.array([[4, 1, 3], [3, 1, 4]]))
    np.testing.assert_array_equal(found, vertices[[1, 3, 4]])
    assert faces.tolist() == [[2, 0, 1], [1, 0, 2]]


def test_pieces_with_at_least_their_share_stay() -> None:
    """A strip of five faces, a strip of two, one alone: of eight, two are exactly a quarter."""
    long, short = [[i, i + 1, i + 2] for i in range(5)], [[7, 8, 9], [8, 9, 10]]
    faces, vertices = np.array([*long, [11, 12, 13], *short]), np.arange(42.0).reshape(14, 3)
    for smallest, kept in ((0.0, [*range(8)]), (0.125, [*range(8)]), (0.2, [*range(5), 6, 7]), (0.25, [*range(5), 6, 7]),
                           (0.26, [*range(5)]), (0.63, [])):  # fmt: skip
        found, left = largest_pieces(vertices, faces, smallest)
        np.testing.assert_array_equal(found[left], vertices[faces[kept]])
    # Joined by the last corner alone, and by the first: one piece.
    for other in ([2, 5, 6], [5, 6, 0], [6, 1, 5]):
        assert len(largest_pieces(vertices, np.array([[0, 1, 2], other]), 0.9)[1]) == 2
    empty = np.zeros((0, 3), np.int64)
    assert largest_pieces(vertices, empty, 0.1)[1].shape == (0, 3)


def test_what_no_frame_shows_takes_the_color_of_its_nearest_neighbor() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [4, 0, 0], [0, 9, 0]])
    colors = np.array([[0.1, 0.2, 0.3], [0, 0, 0], [0.7, 0.8, 0.9], [0, 0, 0]])
    seen = np.array([True, False, True, False])
    np.testing.assert_array_equal(_spread(vertices, colors, seen), colors[[0, 0, 2, 0]])
    for all_or_none in (np.ones(4, bool), np.zeros(4, bool)):
        np.testing.assert_array_equal(_spread(vertices, colors, all_or_none), colors)


def test_a_share_of_the_depths_by_rank_is_not_trusted() -> None:
    _, _, scene = small_scene()
    trust = torch.arange(1.0, 5 * 48 * 64 + 1).reshape(1, 5, 48, 64).flip(2)
    moved = Cameras(scene.cameras.world_to_camera.clone().requires_grad_(), scene.cameras.intrinsics)
    learned = replace(
        scene,
        depth=scene.depth.clone().requires_grad_(),
        depth_confidence=trust.clone().requires_grad_(),
        cameras=moved,
    )
    depth, kept, cameras = fusion_inputs(learned, 0.1)
    assert not depth.requires_grad and not kept.requires_grad and not cameras.world_to_camera.requires_grad
    assert torch.equal(kept, torch.where(trust[0] <= 1536, 0.0, trust[0])) and torch.equal(depth, scene.depth[0])
    # Equal confidences go in the order of the pixels, and the scene itself keeps its own.
    _, equal, _ = fusion_inputs(replace(scene, depth_confidence=torch.ones_like(trust)), 0.1)
    assert torch.equal(equal.view(-1) == 0, torch.arange(equal.numel()) < 1536)
    assert float(learned.depth_confidence.detach().min()) == 1


def test_colors_of_a_mesh_are_those_at_its_vertices_within_four_voxels() -> None:
    scene, frames, _, _ = world_scene(0, 1, 32, 4)
    frames = 1.5 * frames - 0.1
    mesh = scene_mesh(scene, frames.clone().requires_grad_(), 64, drop=0.0, smallest=0.0)
    depth, trust, cameras = fusion_inputs(scene, 0.0)
    volume = fuse_depth(depth, trust, cameras, 64)
    vertices, faces = surface(volume)
    np.testing.assert_array_equal(mesh.vertices, vertices)
    np.testing.assert_array_equal(mesh.faces, faces)
    places = torch.from_numpy(vertices)
    colors, seen = colors_at(places, frames[0], depth, cameras, 4 * volume.side)
    np.testing.assert_array_equal(mesh.colors[seen], colors.numpy()[seen].clip(0, 1))
    # Some vertices lie between four and five voxels from what a view has there.
    assert not torch.equal(colors, colors_at(places, frames[0], depth, cameras, 5 * volume.side)[0])
    assert colors.min() < 0 and colors.max() > 1 and mesh.colors.min() == 0 and mesh.colors.max() == 1
