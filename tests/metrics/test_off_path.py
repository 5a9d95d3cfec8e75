"""The score off the path orders what is known to be better and worse, and its filter takes what does not belong."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scene_cases import panning_cameras
from world_cases import splats_of, world_scene

from vist3a import registry
from vist3a.export.agreement import agreement
from vist3a.metrics.direction import load_metrics, more_is_better
from vist3a.metrics.image import psnr
from vist3a.metrics.off_path import OffPath, off_path, views_off_path, without_disagreement
from vist3a.records import Cameras, Gaussians, Reconstruction
from vist3a.rendering.cpu import CpuRenderer

SIZE = 32
RENDER = CpuRenderer()


def exact() -> tuple[Reconstruction, torch.Tensor, Cameras, Gaussians]:
    """Scene, frames, cameras beside the path, splats."""
    scene, frames, beside, _ = world_scene(0, 2, SIZE, 7)
    return scene, frames, beside, splats_of(scene, frames)


def with_floaters(gaussians: Gaussians, scene: Reconstruction, count: int = 300) -> Gaussians:
    """Also splats halfway to the surface, of the color that the surface has."""
    chosen = torch.randperm(gaussians.means.shape[1], generator=torch.Generator().manual_seed(0))[:count]
    added = gaussians.select(0, chosen)
    center = scene.cameras[0].centers.mean(0)
    added = replace(added, means=center + 0.5 * (added.means - center), scales=1.5 * added.scales)
    return join(gaussians, added)


def join(first: Gaussians, second: Gaussians) -> Gaussians:
    names = ("means", "scales", "rotations", "opacities", "harmonics")
    return Gaussians(**{name: torch.cat([getattr(first, name), getattr(second, name)], 1) for name in names})


def test_what_is_worse_has_a_lower_score() -> None:
    scene, frames, _, gaussians = exact()
    good = off_path(gaussians, scene, frames, RENDER)
    assert good.decibels > 16 and good.floaters == 0
    floating = off_path(with_floaters(gaussians, scene), scene, frames, RENDER)
    assert floating.floaters > 0.02 and floating.decibels < good.decibels - 1
    # Of all pixels a quarter, at the upper left, has no splat in any view.
    whole = torch.ones(7, SIZE, SIZE, dtype=torch.bool)
    whole[:, : SIZE // 2, : SIZE // 2] = False
    torn = off_path(gaussians.select(0, whole.reshape(-1)), scene, frames, RENDER)
    assert torn.holes > good.holes + 0.1 and torn.decibels < good.decibels - 1
    harmonics = gaussians.harmonics + 0.5 * torch.randn(
        gaussians.harmonics.shape, generator=torch.Generator().manual_seed(1)
    )
    painted = off_path(replace(gaussians, harmonics=harmonics), scene, frames, RENDER)
    assert painted.beside > good.beside and painted.decibels < good.decibels


def test_the_filter_takes_floaters_and_foreign_colors_and_nothing_else() -> None:
    scene, frames, beside, gaussians = exact()
    spoiled = with_floaters(gaussians, scene)
    colors = spoiled.harmonics.clone()
    # The first hundred turn green and red.
    colors[:, :100] = torch.tensor([3.0, 3.0, -3.0])
    spoiled = replace(spoiled, harmonics=colors)
    fewer = without_disagreement(spoiled, scene, frames, RENDER)
    left = fewer.means.shape[1]
    assert gaussians.means.shape[1] * 0.95 < left < gaussians.means.shape[1]
    kept = {tuple(mean) for mean in fewer.means[0].tolist()}
    assert sum(tuple(mean) in kept for mean in spoiled.means[0, -300:].tolist()) < 30
    assert sum(tuple(mean) in kept for mean in spoiled.means[0, :100].tolist()) < 30
    clean = RENDER(gaussians, beside[None], (SIZE, SIZE)).rgb.clamp(0, 1)
    before, after = (RENDER(g, beside[None], (SIZE, SIZE)).rgb.clamp(0, 1) for g in (spoiled, fewer))
    assert float(psnr(after, clean).mean()) > float(psnr(before, clean).mean()) + 3


def test_nothing_is_taken_where_that_makes_it_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, frames, _, gaussians = exact()
    spoiled = with_floaters(gaussians, scene)
    # A judge that finds everything equal.
    monkeypatch.setattr("vist3a.metrics.off_path.off_path", lambda *_: OffPath(0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    assert without_disagreement(spoiled, scene, frames, RENDER) is spoiled


def test_views_stand_between_and_beside_and_look_at_the_same() -> None:
    cameras = panning_cameras()
    views = views_off_path(cameras, 3.0)
    assert views.world_to_camera.shape == (10, 4, 4)
    own = torch.cdist(views.centers, cameras.centers).amin(1)
    assert float(own[:4].max()) < 0.1
    # What is 3 ahead stays in the middle of the picture, right and left of each place.
    for right, left in views_pairs(views):
        middle = [pose[:3, :3].T @ (torch.tensor([0.0, 0, 3]) - pose[:3, 3]) for pose in (right, left)]
        torch.testing.assert_close(middle[0], middle[1], atol=1e-4, rtol=0)
        # At 0.7 of 12 degrees to either side.
        apart = (right[:3, :3].T @ right[:3, 3] - left[:3, :3].T @ left[:3, 3]).norm()
        assert float(apart) == pytest.approx(2 * 3 * math.sin(math.radians(12 * 0.7071)), rel=0.01)


def views_pairs(views: Cameras) -> list[tuple[torch.Tensor, torch.Tensor]]:
    poses = list(views.world_to_camera[4:])
    return list(zip(poses[::2], poses[1::2], strict=True))


def test_views_support_oppose_or_say_nothing() -> None:
    """Two views straight at a wall 2 away."""
    cameras = Cameras(
        torch.eye(4).expand(1, 2, 4, 4), torch.tensor([[10.0, 0, 4], [0, 10, 4], [0, 0, 1]]).expand(1, 2, 3, 3)
    )
    wall = torch.full((1, 2, 8, 8), 2.0)
    frames = torch.full((1, 2, 3, 8, 8), 0.5)
    scene = Reconstruction(cameras, wall, torch.ones_like(wall), torch.zeros(1, 2, 8, 8, 3), torch.ones_like(wall))
    places = torch.tensor([[0.0, 0, 2], [0, 0, 1], [0, 0, 3], [0, 0, -2], [9, 0, 2]])
    said = agreement(places, torch.full((2, 5, 3), 0.7), scene, frames)
    assert said.supporting.tolist() == [2, 0, 0, 0, 0]
    assert said.opposing.tolist() == [0, 2, 0, 0, 0]
    torch.testing.assert_close(said.color, torch.tensor([0.2, 0, 0, 0, 0]))
    assert said.opposed.tolist() == [0, 1, 0, 0, 0]


def test_it_is_a_metric_of_the_registry() -> None:
    scene, frames, _, gaussians = exact()
    spoiled = with_floaters(gaussians, scene, len(gaussians.means[0]))
    worse = spoiled.select(0, torch.arange(spoiled.means.shape[1] // 2, spoiled.means.shape[1]))
    pair = Gaussians(
        *(
            torch.cat([getattr(g, n) for g in (gaussians, worse)])
            for n in ("means", "scales", "rotations", "opacities", "harmonics")
        )
    )
    both = Reconstruction(
        Cameras(scene.cameras.world_to_camera.repeat(2, 1, 1, 1), scene.cameras.intrinsics.repeat(2, 1, 1, 1)),
        scene.depth.repeat(2, 1, 1, 1), scene.depth_confidence.repeat(2, 1, 1, 1), scene.points.repeat(2, 1, 1, 1, 1),
        scene.points_confidence.repeat(2, 1, 1, 1), gaussians=pair,
    )  # fmt: skip
    metric = load_metrics(["off_path"], "evaluate.metrics")["metric/off_path"]
    scores = metric(both, frames.repeat(2, 1, 1, 1, 1))
    assert float(scores[0]) == pytest.approx(off_path(gaussians, scene, frames, RENDER).decibels, abs=1e-3)
    assert scores[1] < scores[0] and more_is_better("metric/off_path")
    assert bool(metric(replace(both, gaussians=None), frames.repeat(2, 1, 1, 1, 1)).isnan().all())
    assert "off_path" in registry.names("metrics")
