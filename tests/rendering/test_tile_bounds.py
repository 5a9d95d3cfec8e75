"""What the fast renderer leaves out: nothing that can be seen, and nearly all that cannot; and splats in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from rendering_scenes import SIZE, random_cameras, random_gaussians

from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.rendering.base import ALPHA_MIN, DILATION, NEAR_PLANE
from vist3a.rendering.cpu import _Rasterize
from vist3a.rendering.splats import depth_order, prepare_scene, project_splats
from vist3a.rendering.tile_kernels import TILE, bin_splats, bound_splats


def splats(count: int = 400, height: int = 37, width: int = 45, seed: int = 0) -> np.ndarray:
    """Ellipses of all sizes, in the picture and around it; a few that are none."""
    random = np.random.default_rng(seed)
    table = np.zeros((count, 10))
    table[:, 0] = random.uniform(-0.4 * width, 1.4 * width, count)
    table[:, 1] = random.uniform(-0.4 * height, 1.4 * height, count)
    for row in table:
        axes = np.linalg.qr(random.normal(size=(2, 2)))[0]
        inverse = axes @ np.diag(1 / random.uniform(0.5, 8, 2) ** 2) @ axes.T
        row[2:5] = inverse[0, 0], inverse[0, 1], inverse[1, 1]
    table[:, 5] = random.uniform(0, 1, count)
    table[:10, 5] = ALPHA_MIN * 0.99
    table[10:20, 2:5] = 1.0, 1.0, 1.0  # a needle: no determinant
    table[20:25, 2:5] = 1.0, 2.0, 1.0
    table[:, 9] = random.uniform(1, 5, count)
    return table


def test_bounds_are_the_box_of_the_visible_ellipse() -> None:
    """Centres of pixels whose column or row the ellipse of opacity 1/255 reaches, cut to the picture."""
    height, width = 37, 45
    table = splats(height=height, width=width)
    bounds = bound_splats(table, height, width)
    shown = 0
    for (x0, x1, y0, y1), row in zip(bounds, table, strict=True):
        x, y, a, b, c, opacity = row[:6]
        determinant = a * c - b * b
        columns = rows = np.array([], dtype=int)
        if opacity >= ALPHA_MIN and determinant > 0:
            level = 2 * math.log(opacity / ALPHA_MIN)
            reach_x, reach_y = math.sqrt(level * c / determinant), math.sqrt(level * a / determinant)
            from_x, from_y = np.abs(np.arange(width) + 0.5 - x), np.abs(np.arange(height) + 0.5 - y)
            # Bounds are drawn a ten-thousandth too wide, which decides about pixels on the edge itself.
            if min(np.abs(from_x - reach_x).min(), np.abs(from_y - reach_y).min()) < 1e-3:
                continue
            columns, rows = np.flatnonzero(from_x <= reach_x), np.flatnonzero(from_y <= reach_y)
        if len(columns) and len(rows):
            shown += 1
            assert (x0, x1, y0, y1) == (columns[0], columns[-1] + 1, rows[0], rows[-1] + 1)
        else:
            assert x1 <= x0 or y1 <= y0
    assert 150 < shown < 350


@pytest.mark.parametrize("size", [(37, 45), (16, 32), (1, 17), (33, 1)])
def test_a_tile_lists_the_splats_that_touch_it_front_to_back(size: tuple[int, int]) -> None:
    height, width = size
    table = splats(120, height, width, seed=1)
    bounds = bound_splats(table, height, width)
    order = np.argsort(table[:, 9], kind="stable")
    offsets, members = bin_splats(order, bounds, height, width)
    tiles = [(top, left) for top in range(0, height, TILE) for left in range(0, width, TILE)]
    assert len(offsets) == len(tiles) + 1 and offsets[0] == 0 and offsets[-1] == len(members)
    for i, (top, left) in enumerate(tiles):
        expected = [
            k
            for k in order
            if bounds[k, 0] < min(bounds[k, 1], left + TILE) and bounds[k, 1] > left
            and bounds[k, 2] < min(bounds[k, 3], top + TILE) and bounds[k, 3] > top
        ]  # fmt: skip
        assert members[offsets[i] : offsets[i + 1]].tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_splats_are_the_projected_gaussians(seed: int) -> None:
    """One by one in numpy, after Zwicker et al. (2001); what is left out could not be seen."""
    gaussians, cameras = random_gaussians(seed, batch=1, count=200, bands=1), random_cameras(seed, batch=1, views=1)
    camera, (height, width) = cameras[0, 0], SIZE
    scene = prepare_scene(gaussians, 0)
    found = project_splats(scene, camera, SIZE)
    rows = {round(float(z), 9): row for z, row in zip(found[9], found.T.numpy(), strict=True)}
    pose, k = camera.world_to_camera.numpy(), camera.intrinsics.numpy()
    f, c = np.array([k[0, 0], k[1, 1]]), np.array([k[0, 2], k[1, 2]])
    extent, axes = np.array([width, height]), rotation_from_quaternion(gaussians.rotations[0]).numpy()
    drawn = needless = 0
    for i in range(200):
        local = pose[:3, :3] @ gaussians.means[0, i].numpy() + pose[:3, 3]
        z, row = local[2], rows.get(round(float(local[2]), 9))
        opacity = float(gaussians.opacities[0, i])
        if z < NEAR_PLANE or opacity < ALPHA_MIN:
            assert row is None
            continue
        slope = local[:2] / z
        margin = 0.15 * extent / f
        inside = np.clip(slope, -c / f - margin, (extent - c) / f + margin)
        jacobian = np.array([[f[0] / z, 0, -f[0] * inside[0] / z], [0, f[1] / z, -f[1] * inside[1] / z]])
        spread = axes[i] @ np.diag(gaussians.scales[0, i].numpy() ** 2) @ axes[i].T
        seen = jacobian @ pose[:3, :3] @ spread @ pose[:3, :3].T @ jacobian.T + DILATION * np.eye(2)
        pixel = slope * f + c
        reach = np.sqrt(2 * math.log(max(opacity / ALPHA_MIN, 1)) * np.diag(seen))
        visible = bool(((pixel + reach > 0.5) & (pixel - reach < extent - 0.5)).all())
        if row is None:
            assert not visible
            continue
        drawn += visible
        # The ball around the ellipsoid is at most this much wider.
        ball = (
            3.34 * np.sqrt((f / z) ** 2 * (1 + inside**2) * float(gaussians.scales[0, i].max()) ** 2 + DILATION) + 1.1
        )
        assert ((pixel + ball > 0) & (pixel - ball < extent)).all(), "far outside and not left out"
        needless += not visible
        inverse = np.linalg.inv(seen)
        np.testing.assert_allclose(row[:6], [*pixel, inverse[0, 0], inverse[0, 1], inverse[1, 1], opacity], rtol=1e-8)
        # A colour of one band looks the same from everywhere.
        color = np.maximum(0.5 + 0.28209479177387814 * gaussians.harmonics[0, i, 0].numpy(), 0)
        np.testing.assert_allclose(row[6:9], color, rtol=1e-8)
    assert drawn > 30


def test_equal_depths_keep_their_order() -> None:
    table = torch.zeros(10, 40)
    table[9] = torch.tensor([2.0, 1.0] * 20)
    assert depth_order(table).tolist() == [*range(1, 40, 2), *range(0, 40, 2)]


@pytest.mark.parametrize(("excess", "drawn"), [(-5e-10, False), (5e-10, True)])
def test_alpha_just_below_the_smallest_is_nothing(excess: float, drawn: bool) -> None:
    """The bound on the exponent has room for rounding; inside that room alpha itself decides, forward and backward.

    One pixel beside the center of the first splat its alpha is the smallest one, a little less or a little more.
    """
    sigma = math.log(0.5 / ALPHA_MIN) - excess
    first = torch.tensor([2.5, 3.5, 2 * sigma, 0, 2 * sigma, 0.5, 1, 1, 1, 1], dtype=torch.float64)
    second = torch.tensor([3.5, 3.5, 0.1, 0, 0.1, 0.5, 0.2, 0.4, 0.6, 2], dtype=torch.float64)
    both = torch.stack([first, second], dim=1).requires_grad_()
    pixel = _Rasterize.apply(both, (8, 8))[3, 3]
    alone = _Rasterize.apply(second[:, None], (8, 8))[3, 3]
    pixel.sum().backward()
    assert both.grad is not None
    assert bool(both.grad[:, 0].any()) == drawn and bool(both.grad[:, 1].any())
    # Where it is drawn it adds its own share and takes as much of what lies behind.
    share = ALPHA_MIN * (1 + excess) if drawn else 0.0
    own = torch.tensor([1, 1, 1, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(pixel.detach(), share * own + (1 - share) * alone, rtol=1e-12, atol=0)
    assert torch.equal(pixel.detach(), alone) != drawn
