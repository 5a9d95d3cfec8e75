"""Fused depth and colors of places, voxel by voxel in float64, and exactly on every threshold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scene_cases import panning_cameras

from vist3a.export.fusion import BLOCK, _blocks_near, _nearest_pixel, _observe, _surface, colors_at, fuse_depth
from vist3a.records import Cameras
from vist3a.rendering.base import NEAR_PLANE

HEIGHT, WIDTH, RESOLUTION = 6, 9, 13
Pixel = tuple[float, float, float]


def small_cameras(views: int) -> Cameras:
    """The first of five that pan, of pictures of WIDTH x HEIGHT."""
    cameras = panning_cameras()[:views]
    return Cameras(cameras.world_to_camera, torch.tensor([[9.0, 0, 4.2], [0, 8.0, 3.1], [0, 0, 1]]).expand(views, 3, 3))


def bumpy() -> tuple[torch.Tensor, torch.Tensor, Cameras]:
    """Depths and confidences of three views: an edge, slopes on either side of what counts as one, pixels without a depth."""
    generator = torch.Generator().manual_seed(4)
    depth = 2 + 0.25 * torch.rand(3, HEIGHT, WIDTH, generator=generator)
    depth[:, :, 6:] += 0.7
    depth[0, 2, 3], depth[1, 0, 0], depth[1, 3, 5], depth[2, 4, 2] = torch.nan, torch.inf, 0.0, -1.0
    trust = 0.2 + torch.rand(3, HEIGHT, WIDTH, generator=generator)
    trust[0, 1, 1], trust[2, 5, 8], trust[1, 2, 2] = 0.0, torch.nan, torch.inf
    return depth, trust, small_cameras(3)


def seen_from(cameras: Cameras, view: int, place: np.ndarray) -> Pixel:
    """Column, row and depth of a place."""
    pose, k = cameras.world_to_camera[view].double().numpy(), cameras.intrinsics[view].double().numpy()
    x, y, z = pose[:3, :3] @ place + pose[:3, 3]
    return k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2], z


def between(image: np.ndarray, column: float, row: float) -> float:
    """Bilinear, the outermost pixels going on outside."""
    height, width = image.shape
    x, y = min(max(column - 0.5, 0), width - 1), min(max(row - 0.5, 0), height - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    above = image[top, left] * (1 - x + left) + (image[top, right] * (x - left) if x > left else 0)
    below = image[bottom, left] * (1 - x + left) + (image[bottom, right] * (x - left) if x > left else 0)
    return above * (1 - y + top) + (below * (y - top) if y > top else 0)


def fused_by_loops(
    depth: np.ndarray, trust: np.ndarray, cameras: Cameras, resolution: int, truncation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Distances, weights, origin and side."""
    points = []
    for view, row, column in np.ndindex(depth.shape):
        z = depth[view, row, column]
        if not (np.isfinite(z) and z > 0.01 and np.isfinite(trust[view, row, column]) and trust[view, row, column] > 0):
            trust[view, row, column] = 0
            continue
        pose, k = cameras.world_to_camera[view].double().numpy(), cameras.intrinsics[view].double().numpy()
        local = z * np.linalg.inv(k) @ [column + 0.5, row + 0.5, 1]
        points.append(pose[:3, :3].T @ (local - pose[:3, 3]))
    low, high = np.quantile(points, 0.005, axis=0), np.quantile(points, 0.995, axis=0)
    side = (high - low).max() / resolution
    origin = low - (truncation + 1) * side
    counts = [
        int(np.ceil((h - lo + 2 * (truncation + 1) * side) / (8 * side))) for lo, h in zip(low, high, strict=True)
    ]
    holding = {tuple(int(np.floor(v)) for v in (point - origin) / (8 * side)) for point in points}
    holding = {b for b in holding if all(0 <= i < n for i, n in zip(b, counts, strict=True))}
    near = {
        tuple(i + j for i, j in zip(b, d, strict=True))
        for b in holding
        for d in itertools.product((-1, 0, 1), repeat=3)
    }
    distance, weight = np.ones([8 * n for n in counts]), np.zeros([8 * n for n in counts])
    for cell in np.ndindex(*distance.shape):
        if tuple(i // 8 for i in cell) in near:
            found = observed(origin + side * np.array(cell), depth, trust, cameras, truncation * side)
            distance[cell], weight[cell] = found
    return distance, weight, origin, side


def observed(
    place: np.ndarray, depth: np.ndarray, trust: np.ndarray, cameras: Cameras, truncation: float
) -> tuple[float, float]:
    """Weighted distance and weight of one place."""
    total = weight = 0.0
    for view in range(len(depth)):
        x, y, z = seen_from(cameras, view, place)
        if not (z > 0.01 and 0 <= x < WIDTH and 0 <= y < HEIGHT):
            continue
        nearest, own = depth[view, int(y), int(x)], trust[view, int(y), int(x)]
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = between(1 / depth[view], x, y)
            surface = 1 / inverse if abs(inverse * nearest - 1) < 0.05 else nearest
        if own > 0 and surface - z > -truncation:
            total += own * min((surface - z) / truncation, 1)
            weight += own
    return (total / weight, weight) if weight else (1.0, 0.0)


def test_every_voxel_is_the_weighted_mean_of_what_views_see() -> None:
    depth, trust, cameras = bumpy()
    volume = fuse_depth(depth, trust, cameras, RESOLUTION, 3.0)
    wanted = fused_by_loops(depth.double().numpy(), trust.double().numpy(), cameras, RESOLUTION, 3.0)
    assert volume.distance.dtype == volume.weight.dtype == np.float32
    assert volume.distance.shape == wanted[0].shape and volume.side == pytest.approx(wanted[3], rel=1e-5)
    np.testing.assert_allclose(volume.origin, wanted[2], atol=1e-5)
    np.testing.assert_allclose(volume.weight, wanted[1], atol=1e-4)
    np.testing.assert_allclose(volume.distance, wanted[0], atol=1e-3)
    assert (volume.weight > 0).any() and 0 < (volume.distance < 0).mean() < 0.5


def test_what_is_far_from_every_point_was_never_seen() -> None:
    """Two walls with much between them, which a view looks through."""
    depth = torch.full((1, HEIGHT, WIDTH), 2.0)
    depth[:, :, 5:] = 9.0
    volume = fuse_depth(depth, torch.ones_like(depth), small_cameras(1), 60)
    before = [round((z - volume.origin[2]) / volume.side) for z in (5.0, 6.0)]
    assert (volume.distance[:, :, before[0] : before[1]] == 1).all()
    assert (volume.weight[:, :, before[0] : before[1]] == 0).all() and volume.weight.max() == 1


def test_four_voxels_are_the_usual_truncation_and_graphs_end() -> None:
    depth, trust, cameras = bumpy()
    learned = Cameras(cameras.world_to_camera.clone().requires_grad_(), cameras.intrinsics)
    found = fuse_depth(depth.clone().requires_grad_(), trust.clone().requires_grad_(), learned, RESOLUTION)
    wanted = fuse_depth(depth, trust, cameras, RESOLUTION, 4.0)
    np.testing.assert_array_equal(found.distance, wanted.distance)
    np.testing.assert_array_equal(found.weight, wanted.weight)


@pytest.mark.parametrize(("z", "trusted"), [(NEAR_PLANE, 1.0), (2.0, 0.0), (torch.inf, 1.0), (2.0, torch.nan)])
def test_without_a_depth_that_counts_nothing_is_fused(z: float, trusted: float) -> None:
    with pytest.raises(ValueError, match="none of 54 depths is finite, positive and trusted; at least one is needed"):
        fuse_depth(torch.full((1, 6, 9), z), torch.full((1, 6, 9), trusted), small_cameras(1), 8)


def test_a_single_depth_has_a_volume() -> None:
    """Though its margin is less than the steps of numbers as large as the depth."""
    trust = torch.zeros(1, HEIGHT, WIDTH)
    trust[0, 2, 3] = 1
    volume = fuse_depth(torch.full((1, HEIGHT, WIDTH), 9.0), trust, small_cameras(1), 64)
    assert min(volume.distance.shape) == 8
    assert 0 < volume.side < 1e-3 and np.isfinite(volume.distance).all()


def test_blocks_are_those_that_hold_a_point_and_their_neighbors() -> None:
    points = torch.tensor([[0.0, 4.0, 7.99], [9.9, 0.1, 5.0], [-0.01, 3.0, 3.0], [3.0, 8.0, 1.0], [1.0, 1.0, 12.0]])
    origin, side, counts = torch.tensor([0.0, -2.0, -1.0]), 2.0, [5, 5, 6]
    found = {tuple(block) for block in _blocks_near(points, origin, side, counts).tolist()}
    # The third lies below, the fourth and the fifth exactly where the next block would begin.
    wanted = {
        (0 + i, 3 + j, 4 + k) for i, j, k in itertools.product((-1, 0, 1), repeat=3)
    } | {(4 + i, 1 + j, 3 + k) for i, j, k in itertools.product((-1, 0, 1), repeat=3)}  # fmt: skip
    assert found == {b for b in wanted if all(0 <= i < n for i, n in zip(b, counts, strict=True))}
    assert BLOCK == 8


def test_a_picture_begins_at_zero_and_ends_before_its_size() -> None:
    pixel = torch.tensor([[0.0, 0], [8.99, 5.99], [9, 3], [3, 6], [-0.01, 2], [2, -0.01], [4.5, 2.5], [4.5, 2.5]])
    z = torch.tensor([1.0, 1, 1, 1, 1, 1, NEAR_PLANE, -1])
    row, column, inside = _nearest_pixel(pixel, z, (HEIGHT, WIDTH))
    assert inside.tolist() == [True, True] + 6 * [False]
    assert row.tolist() == [0, 5, 3, 5, 2, 0, 2, 2] and column.tolist() == [0, 8, 8, 3, 0, 2, 4, 4]


def straight(views: int = 1) -> Cameras:
    """Cameras at the origin."""
    return Cameras(
        torch.eye(4).expand(views, 4, 4), torch.tensor([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]).expand(views, 3, 3)
    )


def test_what_is_a_truncation_behind_is_hidden_and_what_is_before_counts_one_at_most() -> None:
    places = torch.tensor([[0.0, 0, 2.5], [0, 0, 2.25], [0, 0, 2], [0, 0, 1.75], [0, 0, 1.5], [0, 0, 1], [0, 0, -2]])
    depth = torch.full((1, 8, 8), 2.0)
    distance, weight = _observe(places, depth, 0.25 * torch.ones_like(depth), straight(), 0.5)
    torch.testing.assert_close(distance, torch.tensor([1.0, -0.5, 0, 0.5, 1, 1, 1]))
    assert weight.tolist() == [0, 0.25, 0.25, 0.25, 0.25, 0.25, 0]
    # Two views, of which one knows nothing: its pixel says nothing, and the other's word stands alone.
    unknown = torch.stack([depth[0], torch.full((8, 8), torch.nan)])
    trust = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
    again, _ = _observe(places, unknown, trust, straight(2), 0.5)
    torch.testing.assert_close(again, distance)


@pytest.mark.parametrize(("step", "smooth"), [(1.04, True), (1.09, True), (1.12, False), (1.2, False), (0.9, False)])
def test_depth_is_straight_in_its_inverse_up_to_an_edge(step: float, smooth: bool) -> None:
    """Halfway between pixels of 1 and ``step``: a twentieth from the nearest is the most."""
    depth = torch.tensor([[1.0, step], [1.0, step]])
    found = _surface(depth, torch.tensor([[1.0, 1.0]]), torch.ones(1))
    torch.testing.assert_close(found, torch.tensor([2 / (1 + 1 / step) if smooth else 1.0]))


def test_colors_are_means_that_near_views_weigh_more_in() -> None:
    depth, _, cameras = bumpy()
    depth = depth.nan_to_num(2.0, 2.0).clamp(min=1)
    frames = torch.rand(3, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(6)) * torch.tensor([2.5, 1.8, 1.2])
    points = points - torch.tensor([1.0, 0.9, -1.7])
    colors, seen = colors_at(points, frames, depth, cameras, 0.2)
    for place, color, shown in zip(points.double().numpy(), colors.numpy(), seen.tolist(), strict=True):
        total, weight = np.zeros(3), 0.0
        for view in range(3):
            x, y, z = seen_from(cameras, view, place)
            if z > 0.01 and 0 <= x < WIDTH and 0 <= y < HEIGHT and abs(float(depth[view, int(y), int(x)]) - z) < 0.2:
                total += np.array([between(frames[view, c].double().numpy(), x, y) for c in range(3)]) / z**2
                weight += 1 / z**2
        assert shown == (weight > 0)
        np.testing.assert_allclose(color, total / weight if weight else 0, atol=1e-4)
    assert 30 < int(seen.sum()) < 170


def test_a_view_shows_what_is_nearer_to_its_depth_than_the_tolerance() -> None:
    points = torch.tensor([[0.0, 0, 2.25], [0, 0, 1.75], [0, 0, 2.125], [0, 0, -2], [9, 0, 2]])
    colors, seen = colors_at(points, torch.ones(1, 3, 8, 8), torch.full((1, 8, 8), 2.0), straight(), 0.25)
    assert seen.tolist() == [False, False, True, False, False]
    torch.testing.assert_close(colors, seen[:, None].float().expand(5, 3))
