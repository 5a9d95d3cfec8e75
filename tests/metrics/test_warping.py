"""Neighbors carried along the scene: by a plane whose pixels move by whole steps, and by films known to be better or worse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from world_cases import world_scene

from vist3a.metrics.direction import load_metrics, measured, more_is_better
from vist3a.metrics.video import flicker
from vist3a.metrics.warping import warp_neighbors
from vist3a.records import Cameras, Reconstruction

NAMES = ("warping", "flicker", "vmaf", "efficientnet")
HEIGHT, WIDTH, FOCAL, DEPTH = 6, 16, 8.0, 4.0


def beside(steps: list[int]) -> Cameras:
    """Cameras [1, views] to the right of each other, so that a plane moves by whole pixels."""
    pose = torch.eye(4).repeat(1, len(steps), 1, 1)
    pose[0, :, 0, 3] = -torch.tensor(steps) * DEPTH / FOCAL
    intrinsics = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    return Cameras(pose, intrinsics.expand(1, len(steps), 3, 3))


def windows(steps: list[int]) -> Tensor:
    """What these cameras see of one wide picture [1, views, 3, height, width]."""
    wide = torch.rand(3, HEIGHT, 64, generator=torch.Generator().manual_seed(0))
    return torch.stack([wide[..., 10 + step : 10 + step + WIDTH] for step in steps])[None]


def plane(steps: list[int]) -> Reconstruction:
    depth = torch.full((1, len(steps), HEIGHT, WIDTH), DEPTH)
    return Reconstruction(beside(steps), depth, depth, torch.zeros(*depth.shape, 3), depth)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_plane_is_carried_by_whole_pixels(mode: str) -> None:
    steps = [0, 2, 5]
    frames, scene = windows(steps), plane(steps)
    carried, seen = warp_neighbors(scene.depth, scene.cameras, frames, mode)
    # The first is compared with the second, which lacks its first two columns; the others with the one before.
    wanted = torch.ones(3, HEIGHT, WIDTH, dtype=torch.bool)
    wanted[0, :, :2], wanted[1, :, -2:], wanted[2, :, -3:] = False, False, False
    assert torch.equal(seen[0], wanted)
    inner = wanted[:, None].expand(-1, 3, -1, -1)
    torch.testing.assert_close(carried[0][inner], frames[0][inner], rtol=0, atol=1e-4)


def test_the_figure_is_what_light_adds_where_neighbors_see_each_other() -> None:
    steps = [0, 2, 5]
    frames, scene = 0.5 * windows(steps), plane(steps)
    metric = load_metrics(["warping"], "evaluate.metrics")
    assert float(measured(metric, scene, frames)["metric/warping"]) == pytest.approx(0, abs=1e-5)
    frames[:, 1] += 0.125
    # Of the second and third frame against their neighbors, and the first against the second: all of them differ by as much.
    assert float(measured(metric, scene, frames)["metric/warping"]) == pytest.approx(0.125, abs=1e-5)


def test_what_is_hidden_in_the_neighbor_does_not_count() -> None:
    steps = [0, 0]
    frames, scene = windows(steps), plane(steps)
    frames[:, 1, :, :, :4] = 0
    assert float(load_metrics(["warping"], "x")["metric/warping"](scene, frames)) > 0.05
    near = scene.depth.clone()
    near[:, 1, :, :4] = 0.9 * DEPTH
    hidden = Reconstruction(scene.cameras, near, near, scene.points, near)
    _, seen = warp_neighbors(hidden.depth, hidden.cameras, frames)
    assert torch.equal(seen[0, :, 0].sum(-1), torch.tensor([WIDTH - 4, WIDTH - 4]))
    assert float(load_metrics(["warping"], "x")["metric/warping"](hidden, frames)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("steps", [[0], [0, 13, 26]])
def test_too_little_in_common_says_nothing(steps: list[int]) -> None:
    scene, frames = plane(steps), windows(steps)
    assert torch.isnan(load_metrics(["warping"], "x")["metric/warping"](scene, frames)).tolist() == [True]
    assert torch.isnan(load_metrics(["flicker"], "x")["metric/flicker"](scene, frames)).tolist() == [len(steps) < 3]


def test_films_of_one_place_win_over_spoiled_ones() -> None:
    scene, frames, _, _ = world_scene(2, 1, 64, 5)
    shaken = torch.stack([frame.roll(3 * (-1) ** (view // 2), 1) for view, frame in enumerate(frames[0])])[None]
    light = frames * torch.tensor([1.0, 0.8, 1.0, 0.85, 1.0])[None, :, None, None, None]
    metrics = load_metrics(NAMES, "evaluate.metrics")
    true, moved, lit = (measured(metrics, scene, film) for film in (frames, shaken, light))
    for name in metrics:
        sign = 1 if more_is_better(name) else -1
        for worse, sees in ((moved, name != "metric/flicker"), (lit, name != "metric/vmaf")):
            assert not sees or sign * float(true[name]) > sign * float(worse[name]), name
    assert torch.equal(true["metric/flicker"], flicker(frames))
    assert [more_is_better(name) for name in metrics] == [False, False, True, False]
