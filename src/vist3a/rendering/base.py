"""The contract of a renderer of 3D Gaussians (EWA splatting with the conventions of gsplat's ``rasterization``)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vist3a.records import Cameras, Gaussians, Rendering

NEAR_PLANE = 0.01
"""Gaussians whose mean is nearer (z-depth) are not drawn."""
DILATION = 0.3
"""Added to the diagonal of the projected covariance, in squared pixels (anti-aliasing blur)."""
ALPHA_MIN = 1.0 / 255.0
"""Contributions below this opacity are skipped."""
ALPHA_MAX = 0.999
"""A single Gaussian is never more opaque than this."""
TRANSMITTANCE_MIN = 1e-4
"""A pixel is finished when its transmittance would fall to or below this."""


@runtime_checkable
class Renderer(Protocol):
    """Renders a batch of Gaussian sets into a batch of cameras; differentiable in Gaussians and camera poses."""

    def __call__(
        self,
        gaussians: Gaussians,
        cameras: Cameras,
        size: tuple[int, int],
        background: Float[Tensor, " 3"] | None = None,
    ) -> Rendering:
        """``cameras`` has batch axes (batch, views); ``size`` is (height, width); background defaults to white."""
        ...
