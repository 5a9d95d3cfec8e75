"""Compiled kernels of the CPU rasteriser: binning of splats into tiles, compositing front to back, exact backward.

A kernel works on a range of tiles and writes only what belongs to those tiles, so any split over threads gives the same
bits. Inside, everything is float64: it costs little on a CPU, and the backward can then recover the transmittance in
front of each splat by division. ``splats`` is ``[n, 10]`` (rows of :data:`vist3a.rendering.splats.SPLAT_ROWS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast, no_type_check

import numba
import numpy as np

from vist3a.rendering.base import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN

TILE = 16
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile at first use, keep the machine code on disk, release the interpreter lock while running."""
    return cast(_Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


@compiled
@no_type_check
def bound_splats(splats, height, width):
    """Pixels [x0, x1) x [y0, y1) in which a splat's opacity can reach ALPHA_MIN; empty when it is not drawn."""
    bounds = np.zeros((splats.shape[0], 4), dtype=np.int32)
    for i in range(splats.shape[0]):
        a, b, c = float(splats[i, 2]), float(splats[i, 3]), float(splats[i, 4])
        opacity = float(splats[i, 5])
        det = a * c - b * b
        if not (opacity >= ALPHA_MIN and det > 0.0):
            continue
        # Slightly wider than the exact ellipse: the test per pixel decides, this only must not lose any.
        level = 2.0 * math.log(opacity / ALPHA_MIN) * 1.0001 + 1e-6
        # Half the width and height of the ellipse, from the inverse of the conic.
        reach_x, reach_y = math.sqrt(level * c / det), math.sqrt(level * a / det)
        # In numbers of pixels: the center of pixel k lies at k + 0.5.
        x, y = float(splats[i, 0]) - 0.5, float(splats[i, 1]) - 0.5
        if not (x + reach_x > -1.0 and x - reach_x < width and y + reach_y > -1.0 and y - reach_y < height):
            continue
        bounds[i, 0] = math.ceil(max(x - reach_x, 0.0))
        bounds[i, 1] = math.floor(min(x + reach_x, width - 1.0)) + 1
        bounds[i, 2] = math.ceil(max(y - reach_y, 0.0))
        bounds[i, 3] = math.floor(min(y + reach_y, height - 1.0)) + 1
    return bounds


@compiled
@no_type_check
def bin_splats(order, bounds, height, width):
    """Per tile (row-major) the splats that touch it, front to back: offsets ``[tiles + 1]`` and splat numbers."""
    columns = (width + TILE - 1) // TILE
    rows = (height + TILE - 1) // TILE
    offsets = np.zeros(rows * columns + 1, dtype=np.int64)
    # A counting sort by tile: count, add up, fill.
    for i in range(bounds.shape[0]):
        if bounds[i, 1] > bounds[i, 0] and bounds[i, 3] > bounds[i, 2]:
            for row in range(bounds[i, 2] // TILE, (bounds[i, 3] - 1) // TILE + 1):
                for column in range(bounds[i, 0] // TILE, (bounds[i, 1] - 1) // TILE + 1):
                    offsets[row * columns + column + 1] += 1
    for tile in range(rows * columns):
        offsets[tile + 1] += offsets[tile]
    # Filled in order of depth, so that the list of every tile is front to back.
    filled = offsets[:-1].copy()
    members = np.empty(offsets[-1], dtype=np.int32)
    for k in range(order.shape[0]):
        i = order[k]
        if bounds[i, 1] > bounds[i, 0] and bounds[i, 3] > bounds[i, 2]:
            for row in range(bounds[i, 2] // TILE, (bounds[i, 3] - 1) // TILE + 1):
                for column in range(bounds[i, 0] // TILE, (bounds[i, 1] - 1) // TILE + 1):
                    tile = row * columns + column
                    members[filled[tile]] = i
                    filled[tile] += 1
    return offsets, members


@compiled
@no_type_check
def composite_tiles(first, stop, splats, bounds, offsets, members, image, transmittance, last):
    """Composite tiles ``first .. stop - 1`` into ``image`` ``[H, W, 4]`` (colour, depth).

    ``transmittance`` (ones) becomes what is left behind the last splat; ``last`` (zeros) one more than the position in
    the tile's list of the last splat that a pixel took.
    """
    height, width = transmittance.shape
    columns = (width + TILE - 1) // TILE
    for tile in range(first, stop):
        top, left = (tile // columns) * TILE, (tile % columns) * TILE
        bottom, right = min(top + TILE, height), min(left + TILE, width)
        open_pixels = (bottom - top) * (right - left)
        finished = np.zeros((TILE, TILE), dtype=np.bool_)
        begin = offsets[tile]
        for k in range(offsets[tile + 1] - begin):
            if open_pixels == 0:
                break
            i = members[begin + k]
            x, y = float(splats[i, 0]), float(splats[i, 1])
            a, b, c = float(splats[i, 2]), float(splats[i, 3]), float(splats[i, 4])
            opacity = float(splats[i, 5])
            red, green, blue = float(splats[i, 6]), float(splats[i, 7]), float(splats[i, 8])
            depth = float(splats[i, 9])
            # A larger sigma leaves alpha below ALPHA_MIN: known before the exponential is taken.
            level = math.log(opacity / ALPHA_MIN) + 1e-9
            for row in range(max(top, bounds[i, 2]), min(bottom, bounds[i, 3])):
                dy = y - (row + 0.5)
                half_cyy, bdy = 0.5 * c * dy * dy, b * dy
                for column in range(max(left, bounds[i, 0]), min(right, bounds[i, 1])):
                    if finished[row - top, column - left]:
                        continue
                    dx = x - (column + 0.5)
                    sigma = (0.5 * a * dx + bdy) * dx + half_cyy
                    if sigma < 0.0 or sigma > level:
                        continue
                    alpha = min(ALPHA_MAX, opacity * math.exp(-sigma))
                    if alpha < ALPHA_MIN:
                        continue
                    before = transmittance[row, column]
                    after = before * (1.0 - alpha)
                    # As in gsplat, the splat that would close a pixel is not drawn any more.
                    if after <= TRANSMITTANCE_MIN:
                        finished[row - top, column - left] = True
                        open_pixels -= 1
                        continue
                    weight = alpha * before
                    image[row, column, 0] += weight * red
                    image[row, column, 1] += weight * green
                    image[row, column, 2] += weight * blue
                    image[row, column, 3] += weight * depth
                    transmittance[row, column] = after
                    last[row, column] = k + 1


@compiled
@no_type_check
def differentiate_tiles(
    first, stop, splats, bounds, offsets, members, transmittance, last, grad_image, grad_alpha, grad_members
):
    """Backward of :func:`composite_tiles` for the same tiles, back to front.

    ``grad_image`` ``[H, W, 4]`` and ``grad_alpha`` ``[H, W]`` belong to the accumulated values and to one minus the
    transmittance; row m of ``grad_members`` receives the gradient of splat ``members[m]`` from this tile alone.
    """
    height, width = transmittance.shape
    columns = (width + TILE - 1) // TILE
    for tile in range(first, stop):
        top, left = (tile // columns) * TILE, (tile % columns) * TILE
        bottom, right = min(top + TILE, height), min(left + TILE, width)
        current = np.empty((TILE, TILE))
        # d(loss)/d(log of the transmittance in front) carried by everything behind, the final transmittance included.
        behind = np.empty((TILE, TILE))
        deepest = 0
        for row in range(top, bottom):
            for column in range(left, right):
                left_over = transmittance[row, column]
                current[row - top, column - left] = left_over
                behind[row - top, column - left] = -left_over * grad_alpha[row, column]
                deepest = max(deepest, last[row, column])
        begin = offsets[tile]
        for k in range(deepest - 1, -1, -1):
            i = members[begin + k]
            x, y = float(splats[i, 0]), float(splats[i, 1])
            a, b, c = float(splats[i, 2]), float(splats[i, 3]), float(splats[i, 4])
            opacity = float(splats[i, 5])
            red, green, blue = float(splats[i, 6]), float(splats[i, 7]), float(splats[i, 8])
            depth = float(splats[i, 9])
            level = math.log(opacity / ALPHA_MIN) + 1e-9
            grad_x = grad_y = grad_a = grad_b = grad_c = grad_opacity = 0.0
            grad_red = grad_green = grad_blue = grad_depth = 0.0
            for row in range(max(top, bounds[i, 2]), min(bottom, bounds[i, 3])):
                dy = y - (row + 0.5)
                half_cyy, bdy = 0.5 * c * dy * dy, b * dy
                for column in range(max(left, bounds[i, 0]), min(right, bounds[i, 1])):
                    # Behind the last splat that this pixel took.
                    if k >= last[row, column]:
                        continue
                    dx = x - (column + 0.5)
                    sigma = (0.5 * a * dx + bdy) * dx + half_cyy
                    if sigma < 0.0 or sigma > level:
                        continue
                    falloff = math.exp(-sigma)
                    alpha = min(ALPHA_MAX, opacity * falloff)
                    if alpha < ALPHA_MIN:
                        continue
                    # Going backwards, division undoes what the forward has multiplied (alpha never reaches 1).
                    before = current[row - top, column - left] / (1.0 - alpha)
                    current[row - top, column - left] = before
                    weight = alpha * before
                    g0, g1 = float(grad_image[row, column, 0]), float(grad_image[row, column, 1])
                    g2, g3 = float(grad_image[row, column, 2]), float(grad_image[row, column, 3])
                    grad_red += weight * g0
                    grad_green += weight * g1
                    grad_blue += weight * g2
                    grad_depth += weight * g3
                    value = red * g0 + green * g1 + blue * g2 + depth * g3
                    # d(loss) / d(alpha): what the splat adds itself, less what it takes from everything behind it.
                    grad = before * value - behind[row - top, column - left] / (1.0 - alpha)
                    behind[row - top, column - left] += weight * value
                    # A clamped alpha has no gradient.
                    if opacity * falloff <= ALPHA_MAX:
                        grad_opacity += falloff * grad
                        grad_sigma = -opacity * falloff * grad
                        grad_x += grad_sigma * (a * dx + bdy)
                        grad_y += grad_sigma * (b * dx + c * dy)
                        grad_a += 0.5 * grad_sigma * dx * dx
                        grad_b += grad_sigma * dx * dy
                        grad_c += 0.5 * grad_sigma * dy * dy
            row_out = grad_members[begin + k]
            row_out[0], row_out[1] = grad_x, grad_y
            row_out[2], row_out[3], row_out[4], row_out[5] = grad_a, grad_b, grad_c, grad_opacity
            row_out[6], row_out[7], row_out[8], row_out[9] = grad_red, grad_green, grad_blue, grad_depth


@compiled
@no_type_check
def sum_members(members, grad_members, grad_splats):
    """Add the gradients of all tiles to their splats, tile by tile: one fixed order of summation."""
    for m in range(members.shape[0]):
        i = members[m]
        for j in range(grad_members.shape[1]):
            grad_splats[i, j] += grad_members[m, j]
