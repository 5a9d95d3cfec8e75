"""Images, depth and cameras describe the same world."""

import math

import pytest
import torch

from vist3a.geometry.normalisation import normalise_scene
from vist3a.geometry.projection import project, unproject_depth
from vist3a_lab.procedural import WorldConfig, cameras, make_world, sample_scenes
from vist3a_lab.procedural.raycast import camera_rays, cast_depth


@pytest.fixture(scope="module")
def world():
    return make_world(WorldConfig(seed=0, frames=13, extra_views=4), range(6))


def sample(image: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    """Values of an image at coordinates in [-1, 1]."""
    return torch.nn.functional.grid_sample(image, grid[:, None], mode=mode, align_corners=False, padding_mode="border")[
        :, :, 0
    ]


def test_every_pixel_is_finite(world):
    assert torch.isfinite(world.rgb).all() and torch.isfinite(world.depth).all()
    assert world.rgb.min() >= 0 and world.rgb.max() <= 1
    assert world.depth.min() > 0.3 and world.depth.max() < 20


def test_camera_poses_are_rigid_upright_and_inside(world):
    rotation = world.cameras.world_to_camera[..., :3, :3]
    eye = torch.eye(3).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.transpose(-1, -2), eye, atol=1e-5, rtol=0)
    assert (torch.linalg.det(rotation) > 0.99).all()
    assert (rotation[..., 1, 2] < -0.8).all(), "image y must point down"
    many = cameras(sample_scenes(5, range(2000)), 13, 16)
    centers = many.centers
    assert centers[..., :2].abs().max() < 4.75 and centers[..., 2].min() > 0.2 and centers[..., 2].max() < 4


def test_paths_are_slow_and_smooth():
    views = cameras(sample_scenes(6, range(300), dtype=torch.float64), 13)
    forward = views.world_to_camera[..., 2, :3]
    total = torch.acos((forward[:, 0] * forward[:, -1]).sum(-1).clamp(-1, 1)) * 180 / math.pi
    assert total.max() < 37
    steps = (views.centers[:, 1:] - views.centers[:, :-1]).norm(dim=-1)
    assert (steps.max(1).values < 1.8 * steps.min(1).values + 1e-3).all()


def test_pixels_agree_between_frames(world):
    errors, depth_errors = [], []
    for scene in range(len(world.rgb)):
        first, later = world.cameras[scene, :1], world.cameras[scene, 6:7]
        points = unproject_depth(world.depth[scene, :1], first).flatten(1, 2)
        pixels, z = project(points, later)
        grid = pixels / 32 - 1
        seen = sample(world.depth[scene, 6:7, None], grid, "nearest")[:, 0]
        in_view = (grid.abs() < 0.97).all(-1)
        visible = in_view & ((z - seen).abs() < 0.03 * z)
        assert visible.sum() > 0.55 * in_view.sum()
        colour = sample(world.rgb[scene, 6:7], grid, "bilinear")
        difference = (colour - world.rgb[scene, :1].flatten(2)).abs().mean(1)
        errors.append(difference[visible].mean())
        depth_errors.append(
            ((z - sample(world.depth[scene, 6:7, None], grid, "bilinear")[:, 0]).abs() / z)[visible].median()
        )
    assert torch.stack(errors).mean() < 0.02 and max(errors) < 0.03
    assert max(depth_errors) < 2e-3


def test_depth_is_exact_at_pixel_centres_in_another_view():
    """A world point seen in frame 0 is what a ray from frame 6 through its projection meets, unless it is hidden."""
    scenes = sample_scenes(8, range(4), dtype=torch.float64)
    views = cameras(scenes, 13, 0, 32, 32)
    depth = cast_depth(scenes, *camera_rays(views[:, :1], 32, 32, 1)).unflatten(-1, (32, 32))
    points = unproject_depth(depth, views[:, :1]).flatten(2, 3)[:, 0]
    origin = views.centers[:, 6:7, None]
    local_z = project(points, views[:, 6])[1]
    direction = (points[:, None] - origin) / local_z[:, None, :, None]
    met = cast_depth(scenes, tuple(origin.unbind(-1)), tuple(direction.unbind(-1)))[:, 0]
    front = local_z > 0.1
    assert (met <= local_z * (1 + 1e-9))[front].all(), "nothing lies behind a surface that a free ray passes"
    agree = (met - local_z).abs() < 1e-6
    assert agree[front].double().mean() > 0.75


def test_float64_agrees_with_float32():
    config = WorldConfig(seed=1, frames=2, height=24, width=24)
    single, double = (make_world(config, [0, 1, 2]), make_world(config, [0, 1, 2], dtype=torch.float64))
    assert double.rgb.dtype == torch.float64
    assert (single.rgb - double.rgb).abs().mean() < 1e-4
    assert ((single.depth - double.depth).abs() < 1e-3).double().mean() > 0.999


def test_normalisation_makes_the_mean_distance_one(world):
    views, depth, scale = normalise_scene(world.cameras, world.depth, frames=13)
    points = unproject_depth(depth[:, :13], views[:, :13])
    torch.testing.assert_close(points.norm(dim=-1).mean((1, 2, 3)), torch.ones(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(views.world_to_camera[:, 0], torch.eye(4).expand(6, 4, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(depth * scale[:, None, None, None], world.depth)
    # The normalised world is a similarity of the old one: points move with the first camera and the scale.
    old = unproject_depth(world.depth, world.cameras)
    first = world.cameras.world_to_camera[:, 0]
    moved = torch.einsum("bij,bvhwj->bvhwi", first[:, :3, :3], old) + first[:, None, None, None, :3, 3]
    new = unproject_depth(depth, views)
    torch.testing.assert_close(new * scale[:, None, None, None, None], moved, atol=1e-4, rtol=1e-4)


def test_held_out_views_do_not_change_the_scale(world):
    given = normalise_scene(world.cameras[:, :13], world.depth[:, :13])
    every = normalise_scene(world.cameras, world.depth, frames=13)
    torch.testing.assert_close(given[2], every[2])
