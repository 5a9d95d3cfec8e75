"""Time of the CPU renderer against the exact reference and a plain-torch tile renderer, same machine, same run.

One Gaussian per pixel of 13 views of 64 x 64 (53,248), as a feed-forward network predicts them, seen from the middle
view. The reference evaluates every Gaussian at every pixel; the tile renderer shares projection, culling and tiles with
the CPU renderer and composites each tile densely with torch operations and autograd.

Exit status 1 when image, depth, alpha or any gradient differs from the reference by more than the limits below, or when
the CPU renderer is not 20 times as fast as the reference (forward).

    python benchmarks/render_cpu.py [--bands 1] [--size 64] [--repeats 5]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from vist3a.geometry.projection import pixel_grid, unproject_depth
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Cameras, Gaussians, Rendering
from vist3a.rendering.base import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN, Renderer
from vist3a.rendering.compositing import finish
from vist3a.rendering.cpu import CpuRenderer
from vist3a.rendering.reference import ReferenceRenderer
from vist3a.rendering.splats import prepare_scene, project_splats
from vist3a.rendering.tile_kernels import TILE, bound_splats

VALUE_LIMIT, GRADIENT_LIMIT, RATIO_REQUIRED = 1e-4, 1e-3, 20
REFERENCE_ROWS = 8
"""Rows of pixels at a time, so that the reference needs 3 GB and not 14; it computes them again for the gradient."""


def network_like_scene(views: int, size: int, bands: int) -> tuple[Gaussians, Cameras]:
    """A wavy surface seen by cameras that pan along it, one Gaussian per pixel and view."""
    generator = torch.Generator().manual_seed(0)
    t = torch.linspace(-0.5, 0.5, views)
    zero, one = torch.zeros(views), torch.ones(views)
    poses = torch.eye(4).repeat(views, 1, 1)
    poses[:, :3, :3] = rotation_from_quaternion(torch.stack([one, zero, 0.25 * t, zero], -1))
    poses[:, 0, 3] = t
    k = torch.tensor([[0.94 * size, 0, size / 2], [0, 0.94 * size, size / 2], [0, 0, 1]])
    cameras = Cameras(poses, k.repeat(views, 1, 1))
    y, x = torch.meshgrid(torch.linspace(0, 5, size), torch.linspace(0, 6, size), indexing="ij")
    depth = 2 + 0.5 * torch.sin(x) * torch.cos(y) + 0.05 * torch.rand(views, size, size, generator=generator)
    means = unproject_depth(depth, cameras).reshape(1, -1, 3)
    count = means.shape[1]
    scales = depth.reshape(1, -1, 1) / (0.94 * size) * (0.3 + torch.rand(1, count, 3, generator=generator))
    rotations = torch.randn(1, count, 4, generator=generator)
    opacities = torch.rand(1, count, generator=generator)
    harmonics = 0.3 * torch.randn(1, count, bands, 3, generator=generator)
    return Gaussians(means, scales, rotations, opacities, harmonics), Cameras(poses[None], cameras.intrinsics[None])


def render_plain_torch(
    gaussians: Gaussians, cameras: Cameras, size: tuple[int, int], background: Tensor | None = None
) -> Rendering:
    """The tile renderer for one scene and one view."""
    splats = project_splats(prepare_scene(gaussians, 0), cameras[0, 0], size)
    image = _plain_view(splats, size).permute(1, 2, 0)[None, None]
    return finish(image[..., :3], image[..., 3], image[..., 4], background)


def _plain_view(splats: Tensor, size: tuple[int, int]) -> Tensor:
    order = splats[9].detach().argsort(stable=True)
    bounds = torch.from_numpy(bound_splats(splats.detach().T.contiguous().numpy(), *size))[order]
    pixels = pixel_grid(*size, dtype=splats.dtype)
    rows = []
    for top in range(0, size[0], TILE):
        row = []
        for left in range(0, size[1], TILE):
            inside = (bounds[:, 0] < left + TILE) & (bounds[:, 1] > left)
            inside &= (bounds[:, 2] < top + TILE) & (bounds[:, 3] > top)
            x, y, a, b, c, opacity, *values = splats[:, order[inside]][:, None, None]
            grid = pixels[top : top + TILE, left : left + TILE, :, None]
            dx, dy = x - grid[:, :, 0], y - grid[:, :, 1]
            sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
            alpha = (opacity * torch.exp(-sigma)).clamp(max=ALPHA_MAX)
            alpha = alpha * ((sigma >= 0) & (alpha >= ALPHA_MIN))
            after = torch.exp(torch.cumsum(torch.log1p(-alpha), -1))
            alpha = alpha * (after > TRANSMITTANCE_MIN)
            weight = alpha * torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], -1)
            row.append(torch.stack([(weight * value).sum(-1) for value in (*values, torch.ones_like(x))]))
        rows.append(torch.cat(row, -1))
    return torch.cat(rows, -2)


@dataclass(frozen=True)
class Measured:
    """Best seconds of forward alone and of forward plus backward, outputs and gradients by name."""

    forward: float
    both: float
    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor]


def measure(render: Renderer, gaussians: Gaussians, cameras: Cameras, size: int, repeats: int) -> Measured:
    """The shortest of ``repeats`` runs."""
    leaves = replace(
        gaussians, **{f.name: getattr(gaussians, f.name).clone().requires_grad_() for f in fields(gaussians)}
    )
    forward = both = float("inf")
    for _ in range(repeats):
        for f in fields(leaves):
            getattr(leaves, f.name).grad = None
        start = time.perf_counter()
        with torch.no_grad():
            render(leaves, cameras, (size, size), torch.zeros(3))
        middle = time.perf_counter()
        result = render(leaves, cameras, (size, size), torch.zeros(3))
        loss(result).backward()
        forward, both = min(forward, middle - start), min(both, time.perf_counter() - middle)
    outputs = {name: getattr(result, name).detach() for name in ("rgb", "depth", "alpha")}
    return Measured(forward, both, outputs, {f.name: getattr(leaves, f.name).grad for f in fields(leaves)})


def loss(rendering: Rendering) -> Tensor:
    """A scalar that hears colour, depth and alpha."""
    return rendering.rgb.square().sum() + 0.1 * rendering.depth.sum() + 0.1 * rendering.alpha.square().sum()


def value_difference(found: Measured, exact: Measured) -> float:
    """Largest difference of any output value."""
    return max(float((found.outputs[name] - value).abs().max()) for name, value in exact.outputs.items())


def gradient_difference(found: Measured, exact: Measured) -> float:
    """Largest relative difference (norm over norm) of the gradient in any attribute."""
    return max(float((found.gradients[name] - g).norm() / g.norm()) for name, g in exact.gradients.items())


def main() -> int:
    """Measure, print, and say by the exit status whether the limits hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bands", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    size = arguments.size
    gaussians, cameras = network_like_scene(13, size, arguments.bands)
    view = cameras[:, 6:7]
    print(
        f"{gaussians.means.shape[1]} Gaussians, {arguments.bands} band(s), one view of {size} x {size}, float32, "
        f"{torch.get_num_threads()} thread(s); best of {arguments.repeats}, reference once"
    )
    measure(CpuRenderer(), gaussians, view, size, 1)  # compiles or loads the kernels
    fast = measure(CpuRenderer(), gaussians, view, size, arguments.repeats)
    plain = measure(render_plain_torch, gaussians, view, size, arguments.repeats)
    exact = measure(ReferenceRenderer(REFERENCE_ROWS), gaussians, view, size, 1)
    for name, result in (("CPU renderer", fast), ("plain-torch tiles", plain), ("exact reference", exact)):
        print(
            f"{name:18} {result.forward * 1e3:8.1f} ms per view forward ({result.forward / fast.forward:6.1f} x), "
            f"{result.both * 1e3:8.1f} ms with gradient ({result.both / fast.both:6.1f} x), largest difference: "
            f"values {value_difference(result, exact):.1e}, gradients {gradient_difference(result, exact):.1e}"
        )
    values, gradients, ratio = (
        value_difference(fast, exact),
        gradient_difference(fast, exact),
        exact.forward / fast.forward,
    )
    held = {
        f"values differ by {values:.1e}, allowed {VALUE_LIMIT:.0e}": values <= VALUE_LIMIT,
        f"gradients differ by {gradients:.1e}, allowed {GRADIENT_LIMIT:.0e}": gradients <= GRADIENT_LIMIT,
        f"{ratio:.0f} times as fast as the reference, required {RATIO_REQUIRED}": ratio >= RATIO_REQUIRED,
    }
    for sentence, holds in held.items():
        print(f"{'ok' if holds else 'FAILED'}: {sentence}")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
