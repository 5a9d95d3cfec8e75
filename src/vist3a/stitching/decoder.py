"""The stitched decoder: latents -> stitch layer -> the rest of the reconstruction network (VIST3A eq. 1)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vist3a.networks.base import ReconstructionModel
from vist3a.records import Reconstruction, StitchFit, TokenState
from vist3a.stitching.grids import StitchSpec
from vist3a.stitching.layer import StitchLayer


class StitchedDecoder(nn.Module):
    """Reads raw video latents as 3D.

    Entry is ``stitched``: special tokens are learned, one set for the first view and one for the others, initialised to
    their means at the stitch point.
    """

    def __init__(self, network: ReconstructionModel, spec: StitchSpec, fit: StitchFit) -> None:
        super().__init__()
        point = network.stitch_point(fit.point)
        if not point.complete:
            raise ValueError(f"stitch point {fit.point} is not a complete entry of this network")
        self.network = network
        self.point = fit.point
        self.layer = StitchLayer(spec, fit)
        self.special_tokens = nn.Parameter(fit.special_tokens.clone())

    def state(
        self, latents: Float[Tensor, "batch channels times rows columns"], views: Int[Tensor, " chosen"] | None = None
    ) -> TokenState:
        """The token state that enters the network; of all views, or of the numbers ``views`` only."""
        tokens = self.layer(latents, views)
        batch, count = tokens.shape[:2]
        roles = (torch.arange(count, device=tokens.device) if views is None else views).clamp(max=1)
        special = self.special_tokens[roles].expand(batch, -1, -1, -1)
        return TokenState(self.point, tokens, special.to(tokens.dtype))

    @property
    def needs_rgb(self) -> bool:
        """Whether a head reads the image."""
        return self.network.needs_rgb

    def forward(
        self,
        latents: Float[Tensor, "batch channels times rows columns"],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction of raw latents; ``rgb`` in [0, 1] for networks whose heads read the image."""
        return self.network.reconstruct_from(self.state(latents), size, rgb, with_gaussians)
