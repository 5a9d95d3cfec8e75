"""The score off the path by its definition, its views, and its filter exactly at what it allows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scene_cases import panning_cameras
from world_cases import splats_of, world_scene

from vist3a.export.agreement import agreement, gaussian_agreement
from vist3a.export.pivot import pivot_depth
from vist3a.export.turntable import flight, orbit
from vist3a.geometry.projection import unproject_depth
from vist3a.geometry.spherical_harmonics import harmonics_from_color
from vist3a.metrics.off_path import OffPath, off_path, views_off_path, without_disagreement
from vist3a.records import Cameras, Gaussians, Reconstruction
from vist3a.rendering.cpu import CpuRenderer

RENDER = CpuRenderer()


@pytest.mark.parametrize(("given", "beside", "holes"), [(0.01, 0.02, 0.3), (0.5, 0.0, 0.0), (0.0, 0.25, 0.5)])
def test_the_score_is_the_logarithm_of_the_sum(given: float, beside: float, holes: float) -> None:
    said = OffPath(given, beside, holes, 0.4, 0.5, 0.6)
    assert said.decibels == pytest.approx(-10 * math.log10(given + beside + holes / 10))
    assert OffPath(0.0, 0.0, 0.0, 1.0, 1.0, 0.0).decibels == pytest.approx(60)


def test_views_are_four_between_and_two_beside_each_of_three_places() -> None:
    cameras = panning_cameras()
    views = views_off_path(cameras, 2.5)
    between = flight(cameras, 9)
    wanted = [between[i] for i in (1, 3, 5, 7)]
    for place in (15, 50, 85):
        loop = orbit(flight(cameras, 101)[place], 2.5, 9, 12.0)
        wanted += [loop[2], loop[6]]
    for found, one in zip(range(10), wanted, strict=True):
        assert torch.equal(views.world_to_camera[found], one.world_to_camera)
        assert torch.equal(views.intrinsics[found], one.intrinsics)


def spoiled() -> tuple[Reconstruction, torch.Tensor, Gaussians]:
    """An exact scene, 20 wide and 24 high, whose splats are partly too bright, gone, or on the way, of any opacity."""
    scene, frames, _, _ = world_scene(0, 2, 24, 5)
    generator, frames, depth = torch.Generator().manual_seed(1), frames[..., :20], scene.depth[..., :20]
    trust = torch.rand(depth.shape, generator=generator)
    scene = Reconstruction(scene.cameras, depth, trust, scene.points[..., :20, :], torch.ones_like(depth))
    gaussians = splats_of(scene, frames).select(0, torch.arange(300, 5 * 24 * 20))
    gaussians.means[:, ::11] *= 0.5
    gaussians.harmonics[:, ::5] += 2
    return scene, frames, replace(gaussians, opacities=torch.rand(gaussians.opacities.shape, generator=generator))


def test_every_figure_is_that_of_its_definition() -> None:
    scene, frames, gaussians = spoiled()
    found = off_path(gaussians, scene, frames, RENDER)
    rgb = RENDER(gaussians, scene.cameras, (24, 20)).rgb
    assert rgb.max() > 1.1
    cameras = views_off_path(scene.cameras[0], pivot_depth(scene.depth[0]))
    drawn = RENDER(gaussians, cameras[None], (24, 20))
    places, colors = unproject_depth(drawn.depth[0], cameras).reshape(-1, 3), drawn.rgb[0].clamp(0, 1)
    flat = colors.permute(0, 2, 3, 1).reshape(1, -1, 3).repeat(5, 1, 1)
    said, means = agreement(places, flat, scene, frames), gaussian_agreement(gaussians, scene, frames)
    shown = [gap for gap, views in zip(said.color.tolist(), said.supporting.tolist(), strict=True) if views]
    assert found.given == pytest.approx(float(((rgb.clamp(0, 1) - frames) ** 2).mean()), rel=1e-5)
    assert found.beside == pytest.approx(sum(gap**2 for gap in shown) / len(shown), rel=1e-4)
    assert found.holes == pytest.approx(1 - float(drawn.alpha.mean()), rel=1e-4)
    assert found.unseen == pytest.approx(1 - len(shown) / (10 * 24 * 20), rel=1e-4) and found.unseen > 0.01
    opacity = list(zip(gaussians.opacities[0].tolist(), means.opposed.tolist(), strict=True))
    through = sum(own for own, share in opacity if share > 0.5)
    assert found.floaters == pytest.approx(through / sum(own for own, _ in opacity), rel=1e-4) and through > 0
    assert found.confidence == pytest.approx(float(scene.depth_confidence.mean()), rel=1e-5)


def wall(*depths: float) -> tuple[Reconstruction, Cameras]:
    """Views from one place, straight at walls of these depths."""
    count = len(depths)
    cameras = Cameras(
        torch.eye(4).expand(1, count, 4, 4), torch.tensor([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]).expand(1, count, 3, 3)
    )
    depth = torch.tensor(depths)[None, :, None, None].expand(1, count, 8, 8)
    one = torch.ones_like(depth)
    return Reconstruction(cameras, depth, one, unproject_depth(depth, cameras), one), cameras


def grid(z: float, color: float) -> Gaussians:
    """A splat for every pixel at one depth."""
    y, x = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(8) + 0.5, indexing="ij")
    means = torch.stack([(x - 4) / 8 * z, (y - 4) / 8 * z, torch.full_like(x, z)], -1).reshape(1, 64, 3)
    return Gaussians(
        means, torch.full((1, 64, 3), 0.06 * z), torch.tensor([1.0, 0, 0, 0]).repeat(1, 64, 1), torch.full((1, 64), 0.9),
        harmonics_from_color(torch.full((1, 64, 3), color)),
    )  # fmt: skip


def both(first: Gaussians, second: Gaussians) -> Gaussians:
    names = ("means", "scales", "rotations", "opacities", "harmonics")
    return Gaussians(**{name: torch.cat([getattr(first, name), getattr(second, name)], 1) for name in names})


def frames_of(color: tuple[float, float, float], views: int) -> torch.Tensor:
    return torch.tensor(color)[None, None, :, None, None].expand(1, views, 3, 8, 8)


@pytest.mark.parametrize(
    ("depths", "color", "kept"),
    [
        # Of four views one sees through, and the gap is a fifth, as a mean: both are allowed.
        ((2.0, 2.0, 2.0, 4.0), (0.4, 0.25, 0.25), True),
        ((2.0, 2.0, 2.0, 2.0), (0.39, 0.25, 0.25), False),
        ((2.0, 2.0, 4.0), (0.4, 0.25, 0.25), False),
    ],
)
def test_what_is_at_its_limits_stays(depths: tuple, color: tuple, kept: bool) -> None:
    scene, _ = wall(*depths)
    frames = frames_of(color, len(depths))
    # Before the wall there hang black splats, which every view sees through.
    gaussians = both(grid(2.0, 0.5), grid(1.0, 0.0))
    left = without_disagreement(gaussians, scene, frames, RENDER)
    assert left.means.shape[1] == (64 if kept else 128)
    if kept:
        assert torch.equal(left.means, gaussians.means[:, :64])


def test_a_scene_is_never_emptied() -> None:
    """Black splats before a white wall: without any of them the picture would be right."""
    scene, _ = wall(2.0, 2.0)
    gaussians, frames = grid(1.0, 0.0), frames_of((1.0, 1.0, 1.0), 2)
    nothing = gaussians.select(0, torch.zeros(64, dtype=torch.bool))
    empty, full = (off_path(one, scene, frames, RENDER) for one in (nothing, gaussians))
    assert empty.decibels > full.decibels and empty.floaters == 0 and full.floaters == 1
    # Where no frame shows what is rendered, nothing is known to be right.
    assert empty.beside == full.beside == 1 and empty.unseen == full.unseen == 1
    assert without_disagreement(gaussians, scene, frames, RENDER) is gaussians


def test_half_of_the_views_are_not_most() -> None:
    scene, _ = wall(2.0, 4.0)
    assert off_path(grid(2.0, 0.5), scene, frames_of((0.5, 0.5, 0.5), 2), RENDER).floaters == 0
    scene, _ = wall(2.0, 4.0, 4.0)
    assert off_path(grid(2.0, 0.5), scene, frames_of((0.5, 0.5, 0.5), 3), RENDER).floaters == 1
