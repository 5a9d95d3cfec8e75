"""The contract of decoders: latents in, 3D out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from vist3a.networks.base import ReconstructionModel
from vist3a.records import Reconstruction


@runtime_checkable
class Decoder(Protocol):
    """Reads raw video latents as 3D: stitched, decoding first (sequential), or as published (released)."""

    network: ReconstructionModel

    @property
    def needs_rgb(self) -> bool:
        """Whether it must be given the frames that the latents were decoded to."""

    @property
    def geometry_needs_rgb(self) -> bool:
        """Whether it must be given them even where no Gaussians are asked for."""

    def __call__(
        self,
        latents: Float[Tensor, "batch channels times rows columns"],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction at ``size`` (height, width); ``rgb`` in [0, 1]; ``with_gaussians`` false skips a Gaussian head."""
        ...
