"""What views say of places, one view and one place at a time; and at every border."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scene_cases import coloured_gaussians, panning_cameras

from vist3a.export.agreement import Agreement, agreement, gaussian_agreement
from vist3a.geometry.spherical_harmonics import color_from_harmonics
from vist3a.records import Cameras, Reconstruction
from vist3a.rendering.base import NEAR_PLANE

HEIGHT, WIDTH = 7, 10


def scene_of(depth: torch.Tensor, cameras: Cameras) -> Reconstruction:
    """A batch of one of which the depth and the cameras are read."""
    one = torch.ones_like(depth)[None]
    return Reconstruction(cameras[None], depth[None], one, one[..., None].expand(*one.shape, 3), one)


def straight(views: int) -> Cameras:
    """Cameras at the origin, of pictures of 8 x 8."""
    return Cameras(
        torch.eye(4).expand(views, 4, 4), torch.tensor([[8.0, 0, 4], [0, 8, 4], [0, 0, 1]]).expand(views, 3, 3)
    )


def bumpy() -> tuple[Reconstruction, torch.Tensor]:
    """Five views of steps and slopes, with pixels of no depth, and their frames."""
    generator = torch.Generator().manual_seed(2)
    depth = 2 + 0.4 * torch.rand(5, HEIGHT, WIDTH, generator=generator)
    depth[:, :, 6:] += 1.5
    depth[1, 2, 2] = torch.nan
    k = torch.tensor([[10.0, 0, 4.5], [0, 9, 3.2], [0, 0, 1]]).expand(5, 3, 3)
    cameras = Cameras(panning_cameras().world_to_camera, k)
    return scene_of(depth, cameras), torch.rand(1, 5, 3, HEIGHT, WIDTH, generator=generator)


def by_loops(
    places: np.ndarray, colors: np.ndarray, scene: Reconstruction, frames: np.ndarray
) -> tuple[list[int], list[int], list[float]]:
    """Supporting, opposing and color of every place."""
    depth, cameras = scene.depth[0].double().numpy(), scene.cameras[0].to(dtype=torch.float64)
    height, width = depth.shape[1:]
    supporting, opposing, color = [], [], []
    for n, place in enumerate(places):
        yes, no, gaps = 0, 0, []
        for view in range(len(depth)):
            pose, k = cameras.world_to_camera[view].numpy(), cameras.intrinsics[view].numpy()
            x, y, z = pose[:3, :3] @ place + pose[:3, 3]
            if z <= 0.01:
                continue
            column, row = k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]
            if not (0 <= column < width and 0 <= row < height):
                continue
            i, j = int(row), int(column)
            around = depth[view, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            no += bool(z / around.min() < 1 - 0.1)
            if abs(z / depth[view, i, j] - 1) < 0.1:
                yes += 1
                gaps.append(np.mean(np.abs(colors[view, n] - frames[view, :, i, j])))
        supporting.append(yes)
        opposing.append(no)
        # Of an even number the lower one in the middle.
        color.append(sorted(gaps)[(len(gaps) - 1) // 2] if gaps else 0.0)
    return supporting, opposing, color


def test_every_view_is_asked_for_every_place() -> None:
    scene, frames = bumpy()
    generator = torch.Generator().manual_seed(3)
    places = torch.rand(300, 3, generator=generator) * torch.tensor([4.0, 3, 4]) - torch.tensor([2.0, 1.5, 0.2])
    colors = torch.rand(5, 300, 3, generator=generator)
    said = agreement(places, colors, scene, frames)
    wanted = by_loops(places.double().numpy(), colors.numpy(), scene, frames[0].numpy())
    assert said.supporting.tolist() == wanted[0] and said.opposing.tolist() == wanted[1]
    np.testing.assert_allclose(said.color, wanted[2], atol=1e-6)
    assert len(set(wanted[0])) > 3 and len(set(wanted[1])) > 3


@pytest.mark.parametrize(
    ("place", "depth", "seen"),
    [((-1.0, 0.0, 2.0), 2.0, True), ((1.0, 0.0, 2.0), 2.0, False), ((0.0, -1.0, 2.0), 2.0, True),
     ((0.0, 1.0, 2.0), 2.0, False), ((0.0, 0.0, NEAR_PLANE), NEAR_PLANE, False), ((0.0, 0.0, -2.0), -2.0, False),
     ((0.99, 0.99, 2.0), 2.0, True), ((-1.01, 0.0, 2.0), 2.0, False), ((0.0, -1.01, 2.0), 2.0, False)],
)  # fmt: skip
def test_a_picture_begins_at_zero_and_ends_before_its_size(place: tuple, depth: float, seen: bool) -> None:
    scene = scene_of(torch.full((1, 8, 8), depth), straight(1))
    said = agreement(torch.tensor([place]), torch.zeros(1, 1, 3), scene, torch.full((1, 1, 3, 8, 8), 0.25))
    assert (said.supporting.tolist(), said.color.tolist()) == (([1], [0.25]) if seen else ([0], [0]))
    before = scene_of(torch.full((1, 8, 8), 10 * depth), straight(1))
    said = agreement(torch.tensor([place]), torch.zeros(1, 1, 3), before, torch.zeros(1, 1, 3, 8, 8))
    assert said.opposing.tolist() == [int(seen)]


def test_only_where_all_pixels_around_are_behind_a_view_sees_through() -> None:
    depth = torch.full((1, 8, 8), 4.0)
    depth[0, 2, 3] = 2.0
    # In the pixels two to the right, one to the right and below, and the pixel itself.
    pixels = torch.tensor([[5.5, 2.5], [4.5, 3.5], [3.5, 2.5], [3.5, 4.5], [1.5, 2.5]])
    places = torch.cat([(pixels - 4) / 8 * 2, torch.full((5, 1), 2.0)], 1)
    said = agreement(places, torch.zeros(1, 5, 3), scene_of(depth, straight(1)), torch.zeros(1, 1, 3, 8, 8))
    assert said.opposing.tolist() == [1, 0, 0, 1, 1] and said.supporting.tolist() == [0, 0, 1, 0, 0]


def test_opposed_is_a_share_of_the_views_that_could_tell() -> None:
    said = Agreement(torch.tensor([0.0, 3, 1, 0]), torch.tensor([0.0, 1, 3, 1]), torch.zeros(4))
    assert said.opposed.tolist() == [0, 0.25, 0.75, 1]


def test_gaussians_have_the_colors_of_each_view_that_can_be_shown() -> None:
    scene, frames = bumpy()
    gaussians = coloured_gaussians()
    gaussians.harmonics[:, ::3] *= 4
    colors = torch.stack([
        color_from_harmonics(gaussians.harmonics[0], gaussians.means[0] - center).clamp(0, 1)
        for center in scene.cameras[0].centers
    ])  # fmt: skip
    said, wanted = gaussian_agreement(gaussians, scene, frames), agreement(gaussians.means[0], colors, scene, frames)
    for name in ("supporting", "opposing", "color"):
        assert torch.equal(getattr(said, name), getattr(wanted, name))
    # Colors beyond one would be further from the frames.
    assert (colors == 1).any() and (said.color > 0).any() and said.color.max() <= 1
