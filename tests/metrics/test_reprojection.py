"""Reprojection errors: nothing on exact geometry, the closed form where geometry is wrong in a known way."""

from __future__ import annotations

import pytest
import torch

from vist3a.metrics.reprojection import reprojection_errors
from vist3a.records import Cameras
from vist3a_lab.procedural import WorldConfig, make_world


@pytest.fixture(scope="module")
def world():
    return make_world(WorldConfig(seed=3, frames=9), [0, 1, 2], dtype=torch.float64)


def test_exact_geometry_reprojects_onto_itself(world) -> None:
    errors = reprojection_errors(world.depth, world.cameras, world.rgb, gap=4)
    assert errors.pixels.max() < 0.05 and errors.depth.max() < 2e-3
    assert errors.covered.min() > 0.5 and errors.colour.max() < 0.1


def test_a_similarity_of_the_world_changes_nothing(world) -> None:
    plain = reprojection_errors(world.depth, world.cameras, world.rgb)
    angle = torch.tensor(0.7, dtype=torch.float64)
    motion = torch.eye(4, dtype=torch.float64)
    motion[0, 0] = motion[1, 1] = angle.cos()
    motion[0, 1], motion[1, 0] = -angle.sin(), angle.sin()
    motion[:3, 3] = torch.tensor([0.3, -1.0, 2.0])
    pose = world.cameras.world_to_camera @ motion
    pose[..., :3, 3] *= 2.5
    moved = reprojection_errors(2.5 * world.depth, Cameras(pose, world.cameras.intrinsics), world.rgb)
    for name in ("pixels", "depth", "colour", "covered"):
        torch.testing.assert_close(getattr(moved, name), getattr(plain, name), rtol=1e-6, atol=1e-8)


def test_one_depth_map_scaled_gives_the_closed_form() -> None:
    # Fronto-parallel plane at depth 2 seen by cameras that only move sideways by b: the disparity is f b / z.
    height = width = 32
    focal, shift, factor = 40.0, 0.1, 1.25
    intrinsics = torch.tensor([[focal, 0, 16], [0, focal, 16], [0, 0, 1]], dtype=torch.float64).expand(1, 2, 3, 3)
    pose = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    pose[0, 1, 0, 3] = -shift
    depth = torch.full((1, 2, height, width), 2.0, dtype=torch.float64)
    depth[0, 1] *= factor
    errors = reprojection_errors(depth, Cameras(pose, intrinsics), torch.zeros(1, 2, 3, height, width).double(), gap=1)
    wanted_pixels = focal * shift * (1 / 2.0 - 1 / (2.0 * factor))
    torch.testing.assert_close(errors.pixels, torch.tensor([wanted_pixels], dtype=torch.float64))
    wanted_depth = ((factor - 1) + (1 - 1 / factor)) / 2
    torch.testing.assert_close(errors.depth, torch.tensor([wanted_depth], dtype=torch.float64))
    assert float(errors.colour) == 0.0


def test_colour_is_the_mean_difference_of_what_overlaps() -> None:
    intrinsics = torch.tensor([[40.0, 0, 8], [0, 40.0, 8], [0, 0, 1]]).expand(1, 2, 3, 3)
    still = Cameras(torch.eye(4).repeat(1, 2, 1, 1), intrinsics)
    frames = torch.stack([torch.full((3, 16, 16), 0.25), torch.full((3, 16, 16), 0.75)])[None]
    errors = reprojection_errors(torch.ones(1, 2, 16, 16), still, frames, gap=1)
    torch.testing.assert_close(errors.colour, torch.tensor([0.5]))
    assert float(errors.covered) == 1.0 and float(errors.pixels) < 1e-5


@pytest.mark.parametrize("gap", [-1, 0, 9])
def test_gap_must_fit_the_views(world, gap: int) -> None:
    """Views compared with themselves would always agree."""
    with pytest.raises(ValueError, match=rf"gap {gap} between 9 views: it must lie in 1\.\.8"):
        reprojection_errors(world.depth, world.cameras, world.rgb, gap=gap)


def test_the_largest_gap_compares_the_first_view_with_the_last(world) -> None:
    ends = [0, 8]
    found = reprojection_errors(world.depth, world.cameras, world.rgb, gap=8)
    alone = reprojection_errors(world.depth[:, ends], world.cameras[:, ends], world.rgb[:, ends], gap=1)
    for name in ("pixels", "depth", "colour", "covered"):
        torch.testing.assert_close(getattr(found, name), getattr(alone, name), equal_nan=True)


def test_views_are_compared_with_those_a_gap_further() -> None:
    """Cameras at one place: every pixel meets itself, so the errors of a pair are those of its two depth maps."""
    random = torch.Generator().manual_seed(6)
    depth = 1 + torch.rand(2, 5, 6, 8, generator=random, dtype=torch.float64)
    frames = torch.rand(2, 5, 3, 6, 8, generator=random, dtype=torch.float64)
    intrinsics = torch.tensor([[9.0, 0, 4], [0, 9.0, 3], [0, 0, 1]], dtype=torch.float64).expand(2, 5, 3, 3)
    errors = reprojection_errors(depth, Cameras(torch.eye(4).double().repeat(2, 5, 1, 1), intrinsics), frames, gap=2)
    for scene in range(2):
        ways = [(0, 2), (1, 3), (2, 4), (2, 0), (3, 1), (4, 2)]
        d, f = depth[scene], frames[scene]
        relative = [((d[j] - d[i]).abs() / d[i]).flatten().sort().values[23] for i, j in ways]  # the lower median of 48
        assert float(errors.depth[scene]) == pytest.approx(float(torch.stack(relative).mean()), rel=1e-9)
        color = torch.stack([(f[i] - f[j]).abs().mean() for i, j in ways]).mean()
        assert float(errors.colour[scene]) == pytest.approx(float(color), rel=1e-9)
        assert float(errors.pixels[scene]) < 1e-9 and float(errors.covered[scene]) == 1
