"""The fast renderer for CPU: torch projection, compiled tile rasteriser with an exact hand-written backward."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.records import Cameras, Gaussians, Rendering
from vist3a.rendering import tile_kernels
from vist3a.rendering.compositing import check_inputs, finish
from vist3a.rendering.splats import SPLAT_ROWS, depth_order, prepare_scene, project_splats

# More ranges than threads, as equal numbers of splats may differ in cost.
_CHUNKS_PER_THREAD = 4


class CpuRenderer:
    """The renderer for CPU tensors, float32 or float64 (others are computed in float32).

    Uses as many threads as ``torch.get_num_threads()`` says; the result does not depend on it. The first call of a
    fresh installation compiles the kernels (seconds), later processes load them from disk.
    """

    def __call__(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        size: tuple[int, int],
        background: Float[Tensor, " 3"] | None = None,
    ) -> Rendering:
        """See :class:`vist3a.rendering.base.Renderer`."""
        check_inputs(gaussians, cameras, size)
        if gaussians.means.device.type != "cpu":
            raise ValueError(f"CpuRenderer renders Gaussians on the CPU, these are on {gaussians.means.device}")
        dtype = gaussians.means.dtype
        inner = torch.float64 if dtype == torch.float64 else torch.float32
        gaussians, cameras = gaussians.to(dtype=inner), cameras.to(dtype=inner)
        batch, views = cameras.world_to_camera.shape[:2]
        images = []
        for b in range(batch):
            scene = prepare_scene(gaussians, b)
            for v in range(views):
                images.append(_Rasterize.apply(project_splats(scene, cameras[b, v], size), size))
        stacked = torch.stack(images).unflatten(0, (batch, views)).to(dtype)
        return finish(stacked[..., :3], stacked[..., 3], stacked[..., 4], background)


class _Rasterize(torch.autograd.Function):
    """Splat table ``[10, n]`` to accumulated red, green, blue, depth and alpha ``[H, W, 5]``."""

    @staticmethod
    def forward(ctx: Any, splats: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = size
        order = depth_order(splats).numpy()
        table = splats.T.contiguous().numpy()
        bounds = tile_kernels.bound_splats(table, height, width)
        offsets, members = tile_kernels.bin_splats(order, bounds, height, width)
        image = np.zeros((height, width, 4))
        transmittance = np.ones((height, width))
        last = np.zeros((height, width), dtype=np.int32)
        tiling = (table, bounds, offsets, members)
        _over_tiles(offsets, tile_kernels.composite_tiles, *tiling, image, transmittance, last)
        # NumPy arrays, which save_for_backward does not take.
        ctx.state = (*tiling, transmittance, last)
        return torch.from_numpy(np.concatenate([image, 1 - transmittance[..., None]], axis=-1)).to(splats.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        table, _, offsets, members, _, _ = ctx.state
        grad = grads[0].detach().double().numpy()
        grad_image, grad_alpha = np.ascontiguousarray(grad[..., :4]), np.ascontiguousarray(grad[..., 4])
        # A splat lies in several tiles. Each has a row for it, so threads never add into the same place.
        grad_members = np.zeros((len(members), SPLAT_ROWS))
        _over_tiles(offsets, tile_kernels.differentiate_tiles, *ctx.state, grad_image, grad_alpha, grad_members)
        grad_splats = np.zeros((len(table), SPLAT_ROWS))
        tile_kernels.sum_members(members, grad_members, grad_splats)
        return torch.from_numpy(grad_splats).T.to(grads[0].dtype), None


def _over_tiles(offsets: np.ndarray, kernel: Callable[..., None], *arguments: Any) -> None:
    """Run ``kernel`` on all tiles, in ranges that hold about equally many splats, on torch's number of threads."""
    tiles, threads = len(offsets) - 1, torch.get_num_threads()
    if threads == 1 or tiles == 1:
        kernel(0, tiles, *arguments)
        return
    shares = np.linspace(0, offsets[-1], threads * _CHUNKS_PER_THREAD + 1)
    # Borders of tiles nearest to equal shares; the same border twice is no range.
    cuts = np.unique(np.concatenate([[0], np.searchsorted(offsets[:-1], shares[1:-1]), [tiles]]))
    with ThreadPoolExecutor(threads) as pool:
        spans = zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
        running = [pool.submit(kernel, first, stop, *arguments) for first, stop in spans]
        for future in running:
            future.result()
