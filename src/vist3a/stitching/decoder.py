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

    Entry is ``stitched``: special tokens are learned, one set for each of the network's ``token_roles``, initialised to
    their means at the stitch point.
    """

    def __init__(self, network: ReconstructionModel, spec: StitchSpec, fit: StitchFit) -> None:
        super().__init__()
        point = network.stitch_point(fit.point)
        if not point.complete:
            raise ValueError(f"stitch point {fit.point} is not a complete entry of this network")
        roles = network.token_roles.names
        if len(fit.special_tokens) != len(roles):
            raise ValueError(
                f"the stitch layer has special tokens for {len(fit.special_tokens)} roles; those of {type(network).__name__} are "
                f"{len(roles)}: {', '.join(roles)}"
            )
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
        numbers = torch.arange(count, device=tokens.device) if views is None else views
        # By the number of the view in the clip, which says its role, whichever views are asked for.
        special = self.special_tokens[self.network.token_roles.of(numbers)].expand(batch, -1, -1, -1)
        return TokenState(self.point, tokens, special.to(tokens.dtype))

    @property
    def needs_rgb(self) -> bool:
        """Whether a head reads the image."""
        return self.network.needs_rgb

    @property
    def geometry_needs_rgb(self) -> bool:
        """Whether a head reads the image even where no Gaussians are asked for."""
        return self.network.geometry_needs_rgb

    def forward(
        self,
        latents: Float[Tensor, "batch channels times rows columns"],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction of raw latents; ``rgb`` in [0, 1] for networks whose heads read the image."""
        return self.network.reconstruct_from(self.state(latents), size, rgb, with_gaussians)
