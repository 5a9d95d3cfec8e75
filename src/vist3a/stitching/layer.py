"""The stitch layer: resample, one Conv3d, optionally a bias per token position."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vist3a.records import StitchFit
from vist3a.stitching.grids import StitchSpec, resample_and_pad


class StitchLayer(nn.Module):
    """Maps raw video latents to patch tokens."""

    statistics: Tensor | None

    def __init__(self, spec: StitchSpec, fit: StitchFit) -> None:
        super().__init__()
        self.spec = spec
        width, channels = fit.weight.shape[:2]
        # Padding is done explicitly (spec.padding_mode), so the convolution itself has none.
        self.conv = nn.Conv3d(channels, width, spec.kernel, spec.stride, dtype=fit.weight.dtype)
        self.position_bias = None if fit.position_bias is None else nn.Parameter(fit.position_bias.clone())
        # Part of the fit, not of what is trained.
        self.register_buffer("statistics", fit.latent_statistics, persistent=False)
        with torch.no_grad():
            self.conv.weight.copy_(fit.weight)
            assert self.conv.bias is not None
            # A bias per position contains the channel bias; the convolution's own then starts at zero.
            self.conv.bias.copy_(fit.bias if fit.position_bias is None else torch.zeros_like(fit.bias))

    def forward(
        self, latents: Float[Tensor, "batch channels times rows columns"], views: Int[Tensor, " chosen"] | None = None
    ) -> Float[Tensor, "batch views rows_out columns_out width"]:
        """Patch tokens, one set per view (4 T' - 3 views for T' latent frames at temporal stride 4).

        With ``views`` nothing is computed for the others.
        """
        seen = resample_and_pad(standardise(latents, self.statistics), self.spec)
        if views is None:
            tokens = self.conv(seen).movedim(1, -1)
        else:
            # What the kernel covers in time for one view, as a clip of its own.
            covered = torch.arange(self.spec.kernel[0], device=views.device)
            windows = seen[:, :, views[:, None] * self.spec.stride[0] + covered].transpose(1, 2).flatten(0, 1)
            tokens = self.conv(windows).squeeze(2).unflatten(0, (len(latents), len(views))).movedim(2, -1)
        return tokens if self.position_bias is None else tokens + self.position_bias


def standardise(
    latents: Float[Tensor, "batch channels times rows columns"], statistics: Float[Tensor, "2 channels"] | None
) -> Float[Tensor, "batch channels times rows columns"]:
    """Latents minus the mean and over the standard deviation of their channel; unchanged without ``statistics``."""
    if statistics is None:
        return latents
    mean, deviation = statistics.to(latents.dtype)[:, :, None, None, None]
    return (latents - mean) / deviation
