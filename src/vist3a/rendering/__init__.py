"""Renderers of 3D Gaussians: gsplat on CUDA, our own rasteriser on CPU, and a slow exact reference."""

from __future__ import annotations

import torch

from vist3a.rendering.base import Renderer

__all__ = ["Renderer", "renderer_for"]


def renderer_for(device: torch.device) -> Renderer:
    """The fast renderer for tensors on ``device``; numba or gsplat is imported only now."""
    if device.type == "cuda":
        from vist3a.rendering.gsplat_cuda import GsplatRenderer

        return GsplatRenderer()
    if device.type == "cpu":
        from vist3a.rendering.cpu import CpuRenderer

        return CpuRenderer()
    raise ValueError(f"Gaussians are rendered on cuda or cpu, not on {device.type}")
