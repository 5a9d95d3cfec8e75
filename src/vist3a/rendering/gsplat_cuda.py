"""Rendering on CUDA through ``gsplat.rasterization`` (version 1.5.3), imported at the first use."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.spherical_harmonics import degree_of_bands
from vist3a.records import Cameras, Gaussians, Rendering
from vist3a.rendering.base import DILATION, NEAR_PLANE
from vist3a.rendering.compositing import check_inputs, finish


class GsplatRenderer:
    """The renderer for CUDA. Computes in float32 whatever comes in; gradients return in the dtype that came in.

    gsplat compiles its kernels at the first call on a machine (about a minute; needs nvcc, ninja and a C++ compiler).
    """

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise RuntimeError("rendering with gsplat needs a CUDA device and torch sees none; use CpuRenderer on CPU")
        _build_kernels()

    def __call__(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        size: tuple[int, int],
        background: Float[Tensor, " 3"] | None = None,
    ) -> Rendering:
        """See :class:`vist3a.rendering.base.Renderer`."""
        check_inputs(gaussians, cameras, size)
        if not gaussians.means.is_cuda:
            raise ValueError(f"gsplat renders Gaussians that are on CUDA, these are on {gaussians.means.device}")
        from gsplat import rasterization

        dtype = gaussians.means.dtype
        scene, views = gaussians.to(dtype=torch.float32), cameras.to(dtype=torch.float32)
        # The kernels take float32 alone.
        with torch.autocast("cuda", enabled=False):
            # "RGB+D" and our own division instead of "RGB+ED": the same numbers, and one place that defines depth.
            values, alpha, _ = rasterization(
                means=scene.means.contiguous(),
                quats=scene.rotations.contiguous(),
                scales=scene.scales.contiguous(),
                opacities=scene.opacities.contiguous(),
                colors=scene.harmonics.contiguous(),
                viewmats=views.world_to_camera.contiguous(),
                Ks=views.intrinsics.detach().contiguous(),
                width=size[1],
                height=size[0],
                near_plane=NEAR_PLANE,
                eps2d=DILATION,
                sh_degree=degree_of_bands(scene.harmonics.shape[-2]),
                packed=False,
                render_mode="RGB+D",
            )
        values, alpha = values.to(dtype), alpha[..., 0].to(dtype)
        return finish(values[..., :3], values[..., 3], alpha, background)


def _build_kernels() -> None:
    """Compile or load gsplat's kernels, one process at a time: two builds at once delete each other's files."""
    from filelock import FileLock
    from torch.utils.cpp_extension import get_default_build_root

    root = Path(get_default_build_root())
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "vist3a_gsplat.lock"):
        import gsplat.cuda._backend  # noqa: F401
