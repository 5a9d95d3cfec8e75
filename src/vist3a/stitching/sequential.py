"""The baseline that stitching does without: decode the latents to frames, then run the original network on them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from vist3a.networks.base import ReconstructionModel
from vist3a.records import Reconstruction


class SequentialDecoder:
    """A :class:`~vist3a.stitching.base.Decoder` that sees only the decoded frames."""

    def __init__(self, network: ReconstructionModel) -> None:
        self.network = network
        self.needs_rgb = self.geometry_needs_rgb = True

    def __call__(
        self,
        latents: Float[Tensor, "batch channels times rows columns"],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction of the frames ``rgb`` that the latents were decoded to, of the given size."""
        if rgb is None:
            raise ValueError("decoding first needs the frames that the latents were decoded to")
        if tuple(rgb.shape[-2:]) != tuple(size):
            raise ValueError(f"frames of {tuple(rgb.shape[-2:])} pixels; {tuple(size)} are needed")
        return self.network.reconstruct(rgb, with_gaussians)
