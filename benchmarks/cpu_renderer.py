"""Time of the CPU renderer against a plain-torch tile renderer, same machine, same run.

One Gaussian per pixel of 13 views of 64 x 64 (53,248), as a feed-forward network predicts them, rendered into one view
and into all 13. The baseline shares projection, culling and tiles with the CPU renderer and composites each tile
densely with torch operations and autograd.

    python benchmarks/cpu_renderer.py [--views 1 13] [--bands 1] [--size 64] [--repeats 3]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vist3a.geometry.projection import pixel_grid, unproject_depth
from vist3a.geometry.quaternion import rotation_from_quaternion
from vist3a.records import Cameras, Gaussians
from vist3a.rendering.base import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN
from vist3a.rendering.cpu import CpuRenderer
from vist3a.rendering.splats import prepare_scene, project_splats
from vist3a.rendering.tile_kernels import TILE, bound_splats

Render = Callable[[Gaussians, Cameras, tuple[int, int]], Tensor]


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


def render_compiled(gaussians: Gaussians, cameras: Cameras, size: tuple[int, int]) -> Tensor:
    """The CPU renderer, black background."""
    return CpuRenderer()(gaussians, cameras, size, torch.zeros(3)).rgb


def render_plain_torch(gaussians: Gaussians, cameras: Cameras, size: tuple[int, int]) -> Tensor:
    """The baseline, black background."""
    scene = prepare_scene(gaussians, 0)
    views = [_plain_view(project_splats(scene, cameras[0, v], size), size) for v in range(cameras.intrinsics.shape[1])]
    return torch.stack(views)[None]


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
            x, y, a, b, c, opacity, *color = splats[:, order[inside]][:9, None, None]
            grid = pixels[top : top + TILE, left : left + TILE, :, None]
            dx, dy = x - grid[:, :, 0], y - grid[:, :, 1]
            sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
            alpha = (opacity * torch.exp(-sigma)).clamp(max=ALPHA_MAX)
            alpha = alpha * ((sigma >= 0) & (alpha >= ALPHA_MIN))
            after = torch.exp(torch.cumsum(torch.log1p(-alpha), -1))
            alpha = alpha * (after > TRANSMITTANCE_MIN)
            weight = alpha * torch.cat([torch.ones_like(after[..., :1]), after[..., :-1]], -1)
            row.append(torch.stack([(weight * channel).sum(-1) for channel in color]))
        rows.append(torch.cat(row, -1))
    return torch.cat(rows, -2)


def measure(
    render: Render, gaussians: Gaussians, cameras: Cameras, size: int, repeats: int
) -> tuple[float, float, Tensor]:
    """Best seconds of forward and of backward after one warm-up, and the image."""
    leaves = gaussians.detach()
    for tensor in (leaves.means, leaves.scales, leaves.rotations, leaves.opacities, leaves.harmonics):
        tensor.requires_grad_()
    forward, backward = float("inf"), float("inf")
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        image = render(leaves, cameras, (size, size))
        middle = time.perf_counter()
        image.square().sum().backward()
        if repeat:
            forward = min(forward, middle - start)
            backward = min(backward, time.perf_counter() - middle)
    return forward, backward, image.detach()


def main() -> None:
    """Measure and print one line per number of views."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--views", type=int, nargs="+", default=[1, 13])
    parser.add_argument("--bands", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    gaussians, cameras = network_like_scene(13, arguments.size, arguments.bands)
    print(f"{gaussians.means.shape[1]} Gaussians, {arguments.bands} bands, {torch.get_num_threads()} thread(s)")
    for views in arguments.views:
        seen = cameras[:, :views]
        ours = measure(render_compiled, gaussians, seen, arguments.size, arguments.repeats)
        plain = measure(render_plain_torch, gaussians, seen, arguments.size, arguments.repeats)
        ratio = (plain[0] + plain[1]) / (ours[0] + ours[1])
        print(
            f"{views} view(s) of {arguments.size} x {arguments.size}: "
            f"compiled {ours[0] * 1e3:.0f} + {ours[1] * 1e3:.0f} ms, plain torch {plain[0] * 1e3:.0f} + "
            f"{plain[1] * 1e3:.0f} ms (forward + backward), ratio {ratio:.1f}, "
            f"largest difference {(ours[2] - plain[2]).abs().max():.1e}"
        )


if __name__ == "__main__":
    main()
