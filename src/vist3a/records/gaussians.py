"""3D Gaussians in linear units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """A batch of 3D Gaussian sets, world frame, linear units.

    ``scales`` are standard deviations (not logs), ``opacities`` lie in [0, 1] (not logits), ``rotations`` are
    unit quaternions **wxyz** that turn the Gaussian's axes into the world frame. ``harmonics`` are real
    spherical-harmonics coefficients per colour channel; colour = 0.5 + sum_i basis_i(direction) * harmonics_i,
    clamped at 0, where the direction runs from the camera centre to the mean (the convention of gsplat).
    """

    means: Float[Tensor, "batch n 3"]
    scales: Float[Tensor, "batch n 3"]
    rotations: Float[Tensor, "batch n 4"]
    opacities: Float[Tensor, "batch n"]
    harmonics: Float[Tensor, "batch n bands 3"]

    def __getitem__(self, index: slice) -> Gaussians:
        """Slice the batch axis (a slice, so that the axis stays)."""
        return self._map(lambda t: t[index])

    def select(self, scene: int, keep: Tensor) -> Gaussians:
        """Gaussians ``keep`` (mask or indices) of one scene, as a batch of one."""
        return self._map(lambda t: t[scene][keep][None])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians:
        """Move to a device and/or dtype."""
        return self._map(lambda t: t.to(device=device, dtype=dtype))

    def detach(self) -> Gaussians:
        """Cut the autograd graph."""
        return self._map(lambda t: t.detach())

    def _map(self, function):  # type: ignore[no-untyped-def]
        return Gaussians(
            function(self.means),
            function(self.scales),
            function(self.rotations),
            function(self.opacities),
            function(self.harmonics),
        )
