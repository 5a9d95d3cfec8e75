"""Meshes of scenes: against exact depth from places off the path, and opened by readers of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from mesh_rays import mesh_depth
from npm_tools import gltf_issues
from plyfile import PlyData
from scene_cases import frontal_wall
from world_cases import SIZE, splats_of, world_scene

from vist3a import registry
from vist3a.export.collision import collision_mesh, is_closed, largest_hole
from vist3a.export.formats import AssetSettings, Exported
from vist3a.export.fusion import Volume
from vist3a.export.mesh import Mesh, scene_mesh, surface
from vist3a.export.mesh_file import save_mesh_glb, save_mesh_ply
from vist3a.export.placement import PlacementSettings, place_scene
from vist3a.export.viewer import Caption
from vist3a.records import Cameras
from vist3a.rendering.cpu import CpuRenderer

SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
# Corners of known colors, no two of which can be exchanged.
TETRAHEDRON = Mesh(
    np.array([[0.0, 0, 2], [1, 0, 2], [0, 2, 2], [0, 0, 5]], dtype=np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
    np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]], dtype=np.float32),
)


def some_pixels(step: int = 61) -> np.ndarray:
    """Centers (x, y) of a few pixels all over the picture."""
    index = np.arange(0, SIZE * SIZE, step)
    return np.stack([index % SIZE + 0.5, index // SIZE + 0.5], -1)


def relative_errors(mesh: Mesh, cameras: Cameras, depth: torch.Tensor) -> np.ndarray:
    """|z / z' - 1| of the mesh off the path; 1 where a ray hits nothing."""
    pixels = some_pixels()
    rows, columns = pixels[:, 1].astype(int), pixels[:, 0].astype(int)
    errors = []
    for view in range(len(depth)):
        found = mesh_depth(mesh.vertices, mesh.faces, cameras, view, pixels)
        errors.append(np.abs(found / depth[view].numpy()[rows, columns] - 1).clip(max=1))
    return np.concatenate(errors)


@pytest.mark.parametrize("number", [0, 1])
def test_the_mesh_is_where_the_world_is(number: int) -> None:
    scene, frames, beside, truth = world_scene(number)
    mesh = scene_mesh(scene, frames, 128)
    errors = relative_errors(mesh, beside, truth)
    assert np.median(errors) < 0.002 and (errors < 0.05).mean() > 0.75
    # Colors are those that the first view shows of what lies before it.
    places = torch.from_numpy(mesh.vertices[::20]).double()
    camera = scene.cameras[0, 0]
    local = places @ camera.world_to_camera[:3, :3].double().T + camera.world_to_camera[:3, 3].double()
    pixel = local @ camera.intrinsics.double().T
    pixel = pixel[:, :2] / pixel[:, 2:]
    inside = (local[:, 2] > 0) & (pixel > 1).all(1) & (pixel < SIZE - 1).all(1)
    row, column = pixel[inside].long()[:, 1], pixel[inside].long()[:, 0]
    shown = (scene.depth[0, 0, row, column] - local[inside, 2]).abs() < 0.02
    gap = np.abs(mesh.colors[::20][inside.numpy()][shown.numpy()] - frames[0, 0, :, row, column].T[shown].numpy())
    assert len(gap) > 100 and np.median(gap) < 0.03


def test_the_mesh_agrees_with_the_renderer() -> None:
    """Depth that our renderer draws of Gaussians, fused, is what it draws from beside the path."""
    scene, frames, beside, _ = world_scene(0)
    gaussians = splats_of(scene, frames)
    render = CpuRenderer()
    drawn = render(gaussians, scene.cameras, (SIZE, SIZE))
    mesh = scene_mesh(replace(scene, depth=drawn.depth), frames, 128)
    off = render(gaussians, beside[None], (SIZE, SIZE))
    assert np.median(relative_errors(mesh, beside, off.depth[0])) < 0.01


def test_faces_look_outwards_and_unseen_places_have_none() -> None:
    """A ball, of which the half with y < 0 was seen."""
    grid = (np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), -1) - 11.6) / 8
    distance = np.linalg.norm(grid, axis=-1).astype(np.float32) - 1
    volume = Volume(distance, np.ones_like(distance), np.array([1.0, 2, 3], np.float32), 0.5)
    ball = trimesh.Trimesh(*surface(volume), process=False)
    assert ball.is_watertight and ball.volume == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.02)
    np.testing.assert_allclose(ball.vertices.mean(0), np.array([1.0, 2, 3]) + 11.6 * 0.5, atol=0.02)
    half = replace(volume, weight=(grid[..., 1] < 0).astype(np.float32))
    vertices, faces = surface(half)
    assert vertices[:, 1].max() <= 2 + 11.6 * 0.5 and 0.4 < len(faces) / len(ball.faces) < 0.52
    assert is_closed(surface(half, closed=True)[1]) and not is_closed(faces)


def test_holes_are_measured_against_the_rim() -> None:
    whole = np.array([[0, 1, 2], [0, 2, 3]])
    assert largest_hole(SQUARE, whole, SQUARE) == 0.0
    assert largest_hole(SQUARE, whole[:1], SQUARE) == pytest.approx(0.5, abs=0.02)
    # Turned the other way, a triangle covers as much.
    assert largest_hole(SQUARE, whole[:, ::-1], SQUARE) == 0.0
    # A frame with a hole of 0.4 times 0.4.
    inner = 0.3 + 0.4 * SQUARE
    vertices, around = np.concatenate([SQUARE, inner]), np.arange(4)
    after = np.roll(around, -1)
    ring = np.concatenate([np.stack([around, after, around + 4], -1), np.stack([after, after + 4, around + 4], -1)])
    assert largest_hole(vertices, ring, SQUARE) == pytest.approx(0.16, abs=0.015)


@pytest.mark.parametrize("number", [0, 2])
def test_a_collision_mesh_is_closed_and_carries(number: int) -> None:
    scene, _, _, _ = world_scene(number)
    mesh = collision_mesh(scene, 96, 2000)
    assert mesh.closed and len(mesh.faces) < 2300
    assert mesh.hole == 0 and not mesh.flagged
    # What stands behind objects was never seen: without the plate there would be holes.
    assert mesh.seen_hole > 0
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).volume > 0
    # From above, somebody lands where the world is level.
    assert mesh.ground is not None
    lowest = mesh.ground.height(torch.from_numpy(mesh.vertices)).min()
    assert -0.6 < float(lowest) < 0


def test_a_scene_without_a_ground_is_flagged() -> None:
    mesh = collision_mesh(frontal_wall(), 64, 500)
    assert mesh.ground is None and mesh.flagged and mesh.hole == 1.0


def corners_found(path: Path) -> dict[str, np.ndarray]:
    """Position of the corners by color, as trimesh reads them."""
    loaded = trimesh.load(path, process=False)
    read = next(iter(loaded.geometry.values())) if path.suffix == ".glb" else loaded
    # Beside a material trimesh keeps colors as they are stored: linear, 16 bits, which changes none of these three.
    stored = (
        read.visual.vertex_attributes["color"] / 65535 if path.suffix == ".glb" else read.visual.vertex_colors / 255
    )
    colors = np.asarray(stored)[:, :3]
    return {name: read.vertices[np.argmin(np.abs(colors - color).sum(1))] for name, color in (
        ("red", [1, 0, 0]), ("green", [0, 1, 0]), ("blue", [0, 0, 1]),
    )}  # fmt: skip


@pytest.mark.parametrize("target", ["network", "blender", "unity", "unreal"])
def test_corners_are_found_where_they_belong(target: str, tmp_path: Path) -> None:
    placement = place_scene(PlacementSettings(target=target, scale=0.5), None)
    save_mesh_ply(tmp_path / "mesh.ply", TETRAHEDRON, placement)
    x, y, z = (0.5 * TETRAHEDRON.vertices[:3] * (100 if target == "unreal" else 1)).T
    wanted = {"network": (x, y, z), "blender": (x, z, -y), "unity": (x, -y, z), "unreal": (z, x, -y)}[target]
    found = corners_found(tmp_path / "mesh.ply")
    np.testing.assert_allclose([found["red"], found["green"], found["blue"]], np.stack(wanted, -1), atol=1e-5)
    read = trimesh.load(tmp_path / "mesh.ply", process=False)
    # Outside is outside, in left-handed axes by clockwise corners: such programs read it so.
    assert read.volume == pytest.approx(0.5**3 * (100**3 if target == "unreal" else 1) * 1.0, rel=1e-5)
    comments = PlyData.read(str(tmp_path / "mesh.ply")).comments
    assert comments[0] == f"axes: {placement.axes}" and comments[1].startswith("unit: ")


def test_glb_has_the_axes_of_the_format_and_is_valid(tmp_path: Path) -> None:
    placement = place_scene(PlacementSettings(target="gltf", scale=0.5), None)
    save_mesh_glb(tmp_path / "mesh.glb", TETRAHEDRON, placement)
    found = corners_found(tmp_path / "mesh.glb")
    wanted = 0.5 * TETRAHEDRON.vertices[:3] * [1, -1, -1]
    np.testing.assert_allclose([found["red"], found["green"], found["blue"]], wanted, atol=1e-5)
    read = trimesh.load(tmp_path / "mesh.glb", force="mesh", process=False)
    assert read.is_watertight and read.volume == pytest.approx(0.125)
    issues = gltf_issues(tmp_path / "mesh.glb")
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues


def test_exporters_write_what_they_are_named_for(tmp_path: Path) -> None:
    scene, frames, _, _ = world_scene(1)
    settings = AssetSettings(
        target="blender", scale="camera height 1.6", level=True, mesh_voxels=64, collision_faces=800
    )
    exported = Exported(Caption("a scene", {}), frames, scene, None, settings)
    written = {name: registry.find("exporters", name)(tmp_path, exported) for name in ("mesh", "mesh_ply", "collision")}
    assert [path.name for path in written.values()] == ["mesh.glb", "mesh.ply", "mesh.collision.glb"]
    ply = trimesh.load(written["mesh_ply"], process=False)
    glb = trimesh.load(written["mesh"], force="mesh", process=False)
    # The same scene, upward along z here and along y there; the ground lies at 0.
    np.testing.assert_allclose(ply.vertices[:, [0, 2]], glb.vertices[:, [0, 1]], atol=1e-4)
    assert abs(np.quantile(ply.vertices[:, 2], 0.05)) < 0.1
    solid = trimesh.load(written["collision"], force="mesh", process=False)
    assert len(solid.faces) < 1100
    issues = gltf_issues(written["collision"])
    assert issues["numErrors"] == 0, issues
