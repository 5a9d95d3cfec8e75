"""Scenes in the axes and units of other programs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scene_cases import coloured_gaussians, frontal_wall, panning_cameras, small_scene

from vist3a.export.placement import TARGETS, Placement, PlacementSettings, place_scene
from vist3a.geometry.projection import unproject_depth
from vist3a.records import Cameras, Reconstruction
from vist3a.rendering.cpu import CpuRenderer
from vist3a_app.commands import scenes as commands
from vist3a_lab.world import ProceduralWorld


def exact_scene(number: int = 0) -> Reconstruction:
    """A scene of the procedural world in the frame of its first camera."""
    made = ProceduralWorld().scenes(41, [number], (48, 48), 5)
    cameras = made.cameras.relative_to_first()
    one = torch.ones_like(made.depth)
    return Reconstruction(cameras, made.depth, one, unproject_depth(made.depth, cameras), one)


# Where programs put a step to the right, upwards and forward of the camera, by their manuals.
KNOWN = {
    "gltf": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
    "blender": ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "nerfstudio": ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "unity": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "unreal": ((0, 100, 0), (0, 0, 100), (100, 0, 0)),
}


@pytest.mark.parametrize("target", KNOWN)
def test_axes_and_units_are_those_of_the_program(target: str) -> None:
    placement = place_scene(PlacementSettings(target=target, scale=1.0), None)
    # Right, up and forward in the axes of OpenCV.
    steps = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, 1]])
    torch.testing.assert_close(placement.points(steps), torch.tensor(KNOWN[target], dtype=torch.float32))
    assert placement.mirrored == (target in {"unity", "unreal"})
    assert placement.unit == ("centimeter" if target == "unreal" else "meter")


def test_the_command_offers_every_target() -> None:
    assert tuple(TARGETS) == commands.TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_placed_gaussians_look_the_same(target: str) -> None:
    """Also view-dependent colors, and also in a mirrored world, of which the picture is seen through mirrored axes."""
    _, _, scene = small_scene()
    gaussians = coloured_gaussians()
    placement = place_scene(PlacementSettings(target=target, scale=2.5), scene)
    placed = placement.gaussians(gaussians)
    cameras, factor = panning_cameras(), placement.factor
    # The camera goes along: its pose is undone by the inverse of the placement, axes of a mirrored world by a mirror before.
    mirror = torch.diag(torch.tensor([-1.0 if placement.mirrored else 1.0, 1, 1], dtype=torch.float64))
    pose = cameras.world_to_camera.double().clone()
    pose[:, :3, :3] = mirror @ pose[:, :3, :3] @ placement.turn.T
    pose[:, :3, 3] = (mirror @ pose[:, :3, 3:])[..., 0] * factor
    intrinsics = cameras.intrinsics.clone()
    if placement.mirrored:
        intrinsics[:, 0, 2] = 64 - intrinsics[:, 0, 2]
    render = CpuRenderer()
    wanted = render(gaussians, cameras[None], (48, 64)).rgb
    found = render(placed, Cameras(pose.float(), intrinsics)[None], (48, 64)).rgb
    found = found.flip(-1) if placement.mirrored else found
    assert float((found - wanted).square().mean()) < 1e-8


def test_the_height_of_the_camera_gives_meters() -> None:
    scene = exact_scene()
    told = ProceduralWorld().scenes(41, [0], (48, 48), 5).cameras.centers[0, :, 2]
    placement = place_scene(PlacementSettings(scale="camera height 1.6"), scene)
    assert placement.factor == pytest.approx(1.6 / float(told.median()), rel=0.01)
    assert placement.unit == "meter"
    smaller = replace(scene, cameras=Cameras(scaled(scene, 0.1), scene.cameras.intrinsics), points=0.1 * scene.points)
    assert place_scene(PlacementSettings(scale="camera height 1.6"), smaller).factor == pytest.approx(
        10 * placement.factor, rel=1e-3
    )


def scaled(scene: Reconstruction, factor: float) -> torch.Tensor:
    """Poses of a scene in another unit."""
    pose = scene.cameras.world_to_camera.clone()
    pose[..., :3, 3] *= factor
    return pose


def test_a_level_ground_lies_at_height_zero() -> None:
    scene, world = exact_scene(), ProceduralWorld().scenes(41, [0], (48, 48), 5)
    placement = place_scene(PlacementSettings(target="blender", level=True), scene)
    heights = placement.points(scene.points)[..., 2]
    truth = unproject_depth(world.depth, world.cameras)[..., 2]
    torch.testing.assert_close(heights, truth, atol=0.03, rtol=0)
    over = placement.points(scene.cameras.centers[0])
    assert over[0, :2].abs().max() < 1e-5 and float(over[0, 2]) == pytest.approx(
        float(world.cameras.centers[0, 0, 2]), abs=0.02
    )
    # The first camera still looks forward: level means no more than a turn about a horizontal axis.
    ahead = placement.points(torch.tensor([[0.0, 0, 1]]))[0] - over[0]
    assert float(torch.atan2(ahead[0], ahead[1]).abs()) < math.radians(3)


@pytest.mark.parametrize(
    ("settings", "scene", "told"),
    [
        ({"scale": "two"}, True, "scale: 'two'; allowed: meters of a unit, as 0.8, or 'camera height 1.6'"),
        ({"scale": "camera height 0"}, True, "scale: 'camera height 0'; allowed"),
        ({"scale": "camera height 1.6"}, True, "no ground was found below the cameras"),
        ({"level": True}, True, "level: no ground was found"),
        ({"level": True}, False, "level: there are Gaussians alone"),
    ],
)
def test_what_cannot_be_placed_is_told(settings: dict, scene: bool, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        place_scene(PlacementSettings(**settings), frontal_wall() if scene else None)


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_are_moved_scaled_and_turned_one_by_one(mirrored: bool, dtype: torch.dtype) -> None:
    turn = torch.tensor([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]], dtype=dtype)
    turn = -turn if mirrored else turn
    placement = Placement(turn, 2.5, torch.tensor([10.0, -20, 30], dtype=dtype))
    points = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)) + 100
    found = placement.points(points)
    assert found.dtype == torch.float32 and placement.mirrored == mirrored
    for point, placed in zip(points.reshape(-1, 3).tolist(), found.reshape(-1, 3).tolist(), strict=True):
        shifted = [2.5 * (x - o) for x, o in zip(point, (10.0, -20.0, 30.0), strict=True)]
        wanted = [sum(float(a) * x for a, x in zip(row, shifted, strict=True)) for row in turn]
        assert placed == pytest.approx(wanted, rel=1e-7)


def test_a_scene_that_nobody_places_stays_where_it_is() -> None:
    plain = Placement()
    assert torch.equal(plain.turn, torch.eye(3)) and torch.equal(plain.origin, torch.zeros(3)) and plain.factor == 1
    points = torch.randn(5, 3)
    assert torch.equal(plain.points(points), points)
    assert not PlacementSettings().level and PlacementSettings().scale is None


def test_a_placement_is_of_double_precision_and_has_no_graph() -> None:
    scene = exact_scene()
    cameras = Cameras(scene.cameras.world_to_camera.clone().requires_grad_(), scene.cameras.intrinsics)
    learned = replace(scene, cameras=cameras, points=scene.points.clone().requires_grad_())
    for settings in (PlacementSettings(scale="camera height 1.6", level=True), PlacementSettings(scale=2.0)):
        placement = place_scene(settings, learned)
        assert placement.turn.dtype == placement.origin.dtype == torch.float64
        assert not placement.turn.requires_grad and not placement.origin.requires_grad
