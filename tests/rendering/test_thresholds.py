"""Values exactly on a threshold of the renderer's contract, where both renderers and their gradients must decide alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from rendering_scenes import weighted_loss

from vist3a.records import Cameras, Gaussians, Rendering
from vist3a.rendering.base import ALPHA_MAX, ALPHA_MIN, NEAR_PLANE, TRANSMITTANCE_MIN
from vist3a.rendering.compositing import check_inputs, finish
from vist3a.rendering.cpu import CpuRenderer, _over_tiles, _Rasterize
from vist3a.rendering.reference import ReferenceRenderer
from vist3a.rendering.splats import prepare_scene, project_splats
from vist3a.rendering.tile_kernels import TILE, bound_splats, composite_tiles, differentiate_tiles

RENDERERS = [CpuRenderer(), ReferenceRenderer()]


def balls(
    z: list[float], opacities: list[float], xy: tuple[float, float] = (0.0, 0.0), scale: float = 0.05
) -> Gaussians:
    """On one ray, each of a color of its own; in the middle of the pixel (3, 4) of :func:`camera`."""
    n = len(z)
    means = torch.tensor([[[x * d for x in (*xy, 1.0)] for d in z]], dtype=torch.float64)
    one = torch.ones(1, n, 3, dtype=torch.float64)
    turns = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(1, n, 4)
    colors = torch.linspace(-1, 1, 3 * n, dtype=torch.float64).view(1, n, 1, 3)
    return Gaussians(means, scale * one, turns, torch.tensor([opacities], dtype=torch.float64), colors)


def camera() -> Cameras:
    """Sees the balls in the middle of the pixel in row 3 and column 4 of 7 x 9."""
    k = torch.tensor([[20.0, 0, 4.5], [0, 25.0, 3.5], [0, 0, 1]], dtype=torch.float64)
    return Cameras(torch.eye(4, dtype=torch.float64)[None, None], k[None, None])


def rendered(renderer: object, gaussians: Gaussians) -> tuple[Rendering, dict[str, torch.Tensor]]:
    """What is seen, and the gradients of a weighted sum of it."""
    names = ("means", "scales", "rotations", "opacities", "harmonics")
    leaves = Gaussians(*(getattr(gaussians, name).clone().requires_grad_() for name in names))
    rendering = renderer(leaves, camera(), (7, 9))  # type: ignore[operator]
    weighted_loss(rendering).backward()
    return rendering, {name: getattr(leaves, name).grad for name in names}


def agree(gaussians: Gaussians) -> Rendering:
    """The rendering, in which both renderers agree."""
    (fast, fast_grads), (slow, slow_grads) = (rendered(renderer, gaussians) for renderer in RENDERERS)
    for name in ("rgb", "depth", "alpha"):
        torch.testing.assert_close(getattr(fast, name), getattr(slow, name), rtol=1e-10, atol=1e-13)
    for name, expected in slow_grads.items():
        torch.testing.assert_close(fast_grads[name], expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max() + 1))
    return Rendering(fast.rgb.detach(), fast.depth.detach(), fast.alpha.detach())


def test_a_gaussian_of_the_smallest_opacity_is_seen_in_its_middle() -> None:
    alpha = agree(balls([2.0], [ALPHA_MIN])).alpha[0, 0]
    assert float(alpha[3, 4]) == pytest.approx(ALPHA_MIN, rel=1e-12) and int((alpha > 0).sum()) == 1
    assert not agree(balls([2.0], [ALPHA_MIN * (1 - 1e-12)])).alpha.any()
    table = np.zeros((1, 10))
    table[0, :6] = 4.5, 3.5, 0.5, 0, 0.5, ALPHA_MIN
    assert bound_splats(table, 7, 9).tolist() == [[4, 5, 3, 4]]


def test_an_opacity_at_the_cap_has_a_gradient_and_one_above_has_none() -> None:
    agree(balls([2.0], [ALPHA_MAX]))
    for opacity, expected in ((ALPHA_MAX, True), (ALPHA_MAX + 1e-9, False)):
        splat = torch.tensor([4.5, 3.5, 50.0, 0, 50.0, opacity, 1, 1, 1, 1], dtype=torch.float64)[
            :, None
        ].requires_grad_()
        pixel = _Rasterize.apply(splat, (7, 9))[3, 4]
        assert float(pixel[4].detach()) == pytest.approx(ALPHA_MAX, rel=1e-12)
        pixel.sum().backward()
        assert splat.grad is not None and bool(splat.grad[5, 0]) == expected


def test_a_gaussian_on_the_near_plane_is_drawn() -> None:
    assert agree(balls([NEAR_PLANE], [0.5], scale=1e-4)).alpha.any()
    assert not agree(balls([NEAR_PLANE * (1 - 1e-12)], [0.5], scale=1e-4)).alpha.any()


def closing_opacities() -> tuple[float, float]:
    """Two that leave exactly the smallest transmittance, to the last bit."""
    for first in np.linspace(0.95, 0.99, 20_000).tolist():
        second = 1 - TRANSMITTANCE_MIN / (1 - first)
        if 0.5 < second < ALPHA_MAX and (1.0 - first) * (1.0 - second) == TRANSMITTANCE_MIN:
            return first, second
    raise AssertionError("no two numbers do")


def test_what_would_close_a_pixel_is_not_drawn_and_nothing_behind_it() -> None:
    """On the threshold itself, too; a little above it all three are drawn."""
    first, second = closing_opacities()
    behind = agree(balls([2.0, 3.0, 4.0], [first, second, 0.5]))
    assert float(behind.alpha[0, 0, 3, 4]) == pytest.approx(first, rel=1e-12)
    assert float(behind.depth[0, 0, 3, 4]) == pytest.approx(2.0)
    through = agree(balls([2.0, 3.0, 4.0], [first - 1e-3, second, 0.01]))
    assert float(through.alpha[0, 0, 3, 4]) > 0.9998


def test_the_last_open_pixel_of_a_tile_goes_on() -> None:
    """One pixel that the front leaves free: what lies behind is drawn in it, and in no other."""
    height = width = TILE
    front = []
    for row in range(height):
        for column in range(width):
            if (row, column) != (5, 9):
                # So narrow that no neighbor sees it; two of them close a pixel, the third would be the second's rest.
                front += [[column + 0.5, row + 0.5, 60.0, 0, 60.0, 1.0, 1, 0, 0, depth] for depth in (1.0, 2.0)]
    back = [[8.0, 8.0, 1e-4, 0, 1e-4, 0.5, 0, 1, 0, 3.0]]
    table = torch.tensor(front + back, dtype=torch.float64).T.requires_grad_()
    image = _Rasterize.apply(table, (height, width))
    green = image[..., 1].detach()
    assert float(green[5, 9]) > 0.4 and int((green > 0).sum()) == 1
    image[..., 1].sum().backward()
    assert table.grad is not None and float(table.grad[7, -1]) == pytest.approx(float(green[5, 9]))


@pytest.mark.parametrize("size", [(1, 1), (TILE, TILE), (TILE + 1, 2 * TILE + 3)])
def test_large_soft_gaussians_cover_every_pixel_of_every_tile(size: tuple[int, int]) -> None:
    """In closed form per pixel, with gradients by autograd of the same formula."""
    generator = torch.Generator().manual_seed(sum(size))
    table = torch.rand(10, 6, generator=generator, dtype=torch.float64)
    table[0], table[1] = table[0] * size[1], table[1] * size[0]
    table[2], table[4] = 0.001 + 0.002 * table[2], 0.001 + 0.001 * table[4]
    table[3] = 0.0005 * (table[3] - 0.5)
    table[5], table[9] = 0.1 + 0.4 * table[5], 1 + table[9]
    table[5, 0] = 1.0
    weights = torch.randn(*size, 5, generator=generator, dtype=torch.float64)
    fast, slow = (table.clone().requires_grad_() for _ in range(2))
    found = _Rasterize.apply(fast, size)
    y, x = torch.meshgrid(*(torch.arange(side).double() + 0.5 for side in size), indexing="ij")
    left, total = torch.ones(size, dtype=torch.float64), torch.zeros(*size, 4, dtype=torch.float64)
    for i in slow[9].argsort().tolist():
        dx, dy = slow[0, i] - x, slow[1, i] - y
        sigma = 0.5 * (slow[2, i] * dx * dx + slow[4, i] * dy * dy) + slow[3, i] * dx * dy
        alpha = (slow[5, i] * (-sigma).exp()).clamp(max=ALPHA_MAX)
        total = total + (left * alpha)[..., None] * slow[6:, i]
        left = left * (1 - alpha)
    expected = torch.cat([total, 1 - left[..., None]], -1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for image in (found, expected):
        (image * weights).sum().backward()
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-8, atol=1e-10)


def test_pixels_of_nothing_have_no_depth_and_colors_lie_over_the_background() -> None:
    color = torch.tensor([[0.2, 0.1, 0.0], [0.0, 0.0, 0.0]]).view(1, 1, 1, 2, 3)
    depth, alpha = torch.tensor([1.5, 0.0]).view(1, 1, 1, 2), torch.tensor([0.5, 0.0]).view(1, 1, 1, 2)
    white = finish(color, depth, alpha, None)
    assert white.rgb[0, 0, :, 0].T.tolist() == [pytest.approx([0.7, 0.6, 0.5]), [1, 1, 1]]
    assert white.depth.flatten().tolist() == [3, 0] and white.alpha is alpha
    blue = finish(color, depth, alpha, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    assert blue.rgb.dtype == torch.float32
    assert blue.rgb[0, 0, :, 0].T.tolist() == [pytest.approx([0.2, 0.1, 0.5]), [0, 0, 1]]


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-1, 4)])
def test_pictures_have_a_pixel_at_least(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive, not"):
        check_inputs(balls([2.0], [0.5]), camera(), size)
    check_inputs(balls([2.0], [0.5]), camera(), (1, 1))
    for renderer in RENDERERS:
        with pytest.raises(ValueError, match="must be positive, not"):
            renderer(balls([2.0], [0.5]), camera(), size)


def test_what_is_drawn_does_not_depend_on_what_else_a_needle_holds() -> None:
    """A splat whose covariance rounds to no area is not drawn, and its neighbors are what they were."""
    good = balls([2.0], [0.5])
    needle = Gaussians(
        torch.cat([good.means, good.means + torch.tensor([0.3, 0.3, 0.1])], 1),
        torch.cat([good.scales, torch.tensor([[[1e9, 0.0, 0.0]]], dtype=torch.float64)], 1),
        torch.cat([good.rotations, torch.tensor([[[0.9, 0.1, 0.2, 0.3]]], dtype=torch.float64)], 1),
        torch.cat([good.opacities, good.opacities], 1), torch.cat([good.harmonics, good.harmonics], 1),
    )  # fmt: skip
    table = project_splats(prepare_scene(needle, 0), camera()[0, 0], (7, 9))
    assert bool(table.isfinite().all()) and table.shape == (10, 2)
    rendering, grads = rendered(RENDERERS[0], needle)
    assert bool(rendering.rgb.isfinite().all()) and all(bool(g.isfinite().all()) for g in grads.values())


def reach(place: float, focal: float, center: float, extent: int) -> float:
    """Pixels that a ball of :func:`balls` at depth 1 may cover on either side of its middle."""
    margin = 0.15 * extent / focal
    slope = min(max(place, -center / focal - margin), (extent - center) / focal + margin)
    return 1 + 1.001 * 3.33 * math.sqrt((focal * 0.05) ** 2 * (1 + slope**2) + 0.3)


@pytest.mark.parametrize("step", [1e-9, 1e-3])
def test_gaussians_beside_the_picture_are_left_out_a_pixel_from_where_they_end(step: float) -> None:
    """The ball around a Gaussian, 3.33 deviations and a pixel wide, touches the picture or does not; on all four sides."""
    for axis, far in ((0, False), (0, True), (1, False), (1, True)):
        focal, center, extent = ((20.0, 4.5, 9), (25.0, 3.5, 7))[axis]
        for inside in (True, False):
            # At a depth of 1 the slope is the place; its own width depends on it, so the border is found by bisection.
            low, high = (0.0, 5.0) if far else (-5.0, 0.0)
            for _ in range(80):
                middle = (low + high) / 2
                pixel = middle * focal + center
                touches = (
                    pixel - reach(middle, focal, center, extent) < extent
                    if far
                    else pixel + reach(middle, focal, center, extent) > 0
                )
                low, high = (middle, high) if touches == far else (low, middle)
            place = low + (1 if far else -1) * (-1 if inside else 1) * step
            xy = (place, 0.0) if axis == 0 else (0.0, place)
            count = project_splats(prepare_scene(balls([1.0], [0.5], xy), 0), camera()[0, 0], (7, 9)).shape[1]
            assert count == int(inside), (axis, far, inside)


def test_splats_that_are_nowhere_have_no_bounds() -> None:
    """Far outside, without number, or beyond all whole numbers: nothing is cut to a picture."""
    table = np.zeros((12, 10))
    table[:, 2], table[:, 4], table[:, 5] = 0.5, 0.5, 0.9
    table[:, 0], table[:, 1] = 4.5, 3.5
    reach = math.sqrt(2 * math.log(0.9 / ALPHA_MIN) / 0.5)
    table[:4, 0] = -reach - 0.7, 9 + reach + 1, 1e15, math.nan
    table[4:8, 1] = -reach - 0.7, 7 + reach + 1, -1e15, math.inf
    assert bound_splats(table[:8], 7, 9).tolist() == [[0, 0, 0, 0]] * 8
    assert bound_splats(table[8:], 7, 9).tolist() == [[0, 9, 0, 7]] * 4


def saddle(tiles: int = 3) -> tuple[np.ndarray, ...]:
    """Splats of no ellipse, whose exponent would be negative between its arms, one in the first and one in the last tile."""
    table = np.zeros((2, 10))
    for i, left in enumerate((0, (tiles - 1) * TILE)):
        table[i] = left + 8.2, 7.9, 0.02, 0.05, 0.02, 0.6, 0.3, 0.5, 0.7, 2 + i
    bounds = np.array([[0, TILE, 0, TILE], [(tiles - 1) * TILE, tiles * TILE, 0, TILE]], dtype=np.int32)
    offsets = np.array([0, *[1] * (tiles - 1), 2], dtype=np.int64)
    return table, bounds, offsets, np.array([0, 1], dtype=np.int32)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_tiles_in_any_order_write_what_is_theirs_and_no_negative_exponent_is_drawn(order: tuple[int, ...]) -> None:
    """Pixel by pixel, forward and backward; the tile in the middle is empty."""
    table, bounds, offsets, members = saddle()
    height, width = TILE, 3 * TILE
    image, left, last = (
        np.zeros((height, width, 4)),
        np.ones((height, width)),
        np.zeros((height, width), dtype=np.int32),
    )
    for tile in order:
        composite_tiles(tile, tile + 1, table, bounds, offsets, members, image, left, last)
    random = np.random.default_rng(0)
    grad_image, grad_alpha = random.normal(size=(height, width, 4)), random.normal(size=(height, width))
    grads = np.zeros((2, 10))
    for tile in order:
        differentiate_tiles(tile, tile + 1, table, bounds, offsets, members, left, last, grad_image, grad_alpha, grads)
    for i in range(2):
        x, y, a, b, c, opacity, *values = table[i]
        expected, seen = np.zeros(10), 0
        for row in range(TILE):
            for column in range(i * 2 * TILE, i * 2 * TILE + TILE):
                dx, dy = x - column - 0.5, y - row - 0.5
                sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                alpha = opacity * math.exp(-sigma)
                if sigma < 0 or alpha < ALPHA_MIN:
                    assert not image[row, column].any() and left[row, column] == 1 and last[row, column] == 0
                    continue
                seen += 1
                np.testing.assert_allclose(image[row, column], alpha * np.array(values), rtol=1e-12)
                assert left[row, column] == pytest.approx(1 - alpha) and last[row, column] == 1
                grad = grad_image[row, column] @ values + grad_alpha[row, column]
                expected[:6] += (
                    grad
                    * alpha
                    * np.array(
                        [-(a * dx + b * dy), -(b * dx + c * dy), -0.5 * dx * dx, -dx * dy, -0.5 * dy * dy, 1 / opacity]
                    )
                )
                expected[6:] += alpha * grad_image[row, column]
        assert 20 < seen < TILE * TILE - 20
        np.testing.assert_allclose(grads[i], expected, rtol=1e-9)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_lenses_have_no_gradient_and_equal_depths_keep_their_order(renderer: object) -> None:
    made = camera()
    k = made.intrinsics.clone().requires_grad_()
    pose = made.world_to_camera.clone().requires_grad_()
    gaussians = balls([2.0, 2.0, 2.0, 2.0], [0.6, 0.5, 0.4, 0.7])
    rendering = renderer(gaussians, Cameras(pose, k), (7, 9))  # type: ignore[operator]
    rendering.rgb.sum().backward()
    assert k.grad is None and pose.grad is not None and bool(pose.grad.any())
    expected, left = torch.zeros(3, dtype=torch.float64), 1.0
    for opacity, harmonics in zip(gaussians.opacities[0], gaussians.harmonics[0, :, 0], strict=True):
        expected += left * opacity * (0.5 + 0.28209479177387814 * harmonics).clamp(min=0)
        left *= float(1 - opacity)
    torch.testing.assert_close(rendering.rgb[0, 0, :, 3, 4].detach(), expected + left)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_kernel_that_fails_is_not_passed_over(threads: int) -> None:
    def failing(first: int, stop: int) -> None:
        raise RuntimeError(f"tiles {first} to {stop}")

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.raises(RuntimeError, match="tiles 0 to"):
            _over_tiles(np.array([0, 4, 9, 20, 21]), failing)
    finally:
        torch.set_num_threads(before)


def test_a_gaussian_of_no_rotation_is_drawn_by_neither_renderer() -> None:
    """Padding: a quaternion of zeros, whatever its opacity says."""
    gaussians = balls([2.0, 3.0], [0.5, 0.5])
    rotations = gaussians.rotations.clone()
    rotations[0, 0] = 0
    alone = agree(balls([3.0], [0.5]))
    for renderer in RENDERERS:
        means, turns = gaussians.means.clone().requires_grad_(), rotations.clone().requires_grad_()
        padded = Gaussians(means, gaussians.scales, turns, gaussians.opacities, gaussians.harmonics)
        seen = renderer(padded, camera(), (7, 9))
        torch.testing.assert_close(seen.alpha, alone.alpha)
        torch.testing.assert_close(seen.depth, alone.depth)
        # Nor does it have a gradient, which would be NaN.
        for gradient in torch.autograd.grad(seen.rgb.square().sum() + seen.depth.sum(), (means, turns)):
            assert not gradient[0, 0].any() and bool(gradient.isfinite().all())
