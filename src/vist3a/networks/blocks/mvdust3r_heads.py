"""Linear heads of MV-DUSt3R: raw channels per pixel from the tokens of the last decoder layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

SKIP_KERNELS = (3, 5, 5, 3)
SKIP_FACTOR = 1e-4
CONFIDENCE_MAX = 1e9
SCALE_FACTOR = 0.1


def gaussian_channels(sh_degree: int) -> tuple[int, int, int, int]:
    """Raw channels of one Gaussian: color (3 for every band), opacity logit, scale before its factor, rotation wxyz."""
    return 3 * (sh_degree + 1) ** 2, 1, 3, 4


class RunningNorm(nn.BatchNorm2d):
    """Batch norm that always uses the stored statistics: a view's result never depends on what runs beside it."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[frames, channels, height, width]``."""
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


class SkipBlock(nn.Module):
    """Convolution, stored-statistics norm and, unless it is the last of its chain, a SELU."""

    def __init__(self, width: int, out: int, kernel: int, activated: bool) -> None:
        """``width`` -> ``out`` channels; the size of the map stays."""
        super().__init__()
        self.conv = nn.Conv2d(width, out, kernel, padding=kernel // 2)
        self.norm = RunningNorm(out, eps=1e-5)
        self.activated = activated

    def forward(self, x: Float[Tensor, "frames width h w"]) -> Float[Tensor, "frames out h w"]:
        """Apply to full-resolution maps."""
        x = self.norm(self.conv(x))
        return F.selu(x, inplace=True) if self.activated else x


class PointmapHead(nn.Module):
    """Raw point (3) and raw confidence (1) per pixel; the image joins in through convolutions with a tiny factor."""

    def __init__(self, width: int, patch_size: int, skip_width: int) -> None:
        """``width`` of the tokens; ``skip_width`` channels between the convolutions."""
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Linear(width, 4 * patch_size**2)
        widths = (6, skip_width, skip_width, skip_width, 3)
        last = len(SKIP_KERNELS) - 1
        self.skip_proj = nn.Sequential(
            *(SkipBlock(widths[i], widths[i + 1], kernel, i < last) for i, kernel in enumerate(SKIP_KERNELS))
        )

    def forward(
        self, tokens: Float[Tensor, "frames rows columns channels"], images: Float[Tensor, "frames 3 height width"]
    ) -> Float[Tensor, "frames 4 height width"]:
        """Maps from normed tokens and images in [-1, 1]."""
        # The channels of a token are the pixels of its patch.
        x = F.pixel_shuffle(self.proj(tokens).permute(0, 3, 1, 2), self.patch_size)
        xyz, confidence = x.split([3, 1], dim=1)
        # The convolutions touch up the points in tiny steps, and leave the confidence alone.
        skip = self.skip_proj(torch.cat([images.to(x.dtype), xyz], dim=1))
        return torch.cat([xyz + SKIP_FACTOR * skip, confidence], dim=1)


class PixelGaussianHead(nn.Module):
    """Raw Gaussian channels per pixel (see ``gaussian_channels``) from four small perceptrons without biases."""

    def __init__(self, width: int, patch_size: int, hidden: int, sh_degree: int) -> None:
        """``width`` of the tokens; ``hidden`` channels inside each perceptron."""
        super().__init__()
        self.patch_size = patch_size
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.mlp_rgb, self.mlp_opacity, self.mlp_scale2, self.mlp_rotation = (
            nn.Sequential(
                nn.Linear(width, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, out * patch_size**2, bias=False)
            )
            for out in gaussian_channels(sh_degree)
        )

    def forward(
        self, tokens: Float[Tensor, "frames rows columns channels"]
    ) -> Float[Tensor, "frames features height width"]:
        """Maps from normed tokens."""
        tokens = self.norm(tokens)
        parts = (self.mlp_rgb, self.mlp_opacity, self.mlp_scale2, self.mlp_rotation)
        maps = [F.pixel_shuffle(part(tokens).permute(0, 3, 1, 2), self.patch_size) for part in parts]
        return torch.cat(maps, dim=1)


def points_and_confidence(
    raw: Float[Tensor, "batch views 4 height width"],
) -> tuple[Float[Tensor, "batch views height width 3"], Float[Tensor, "batch views height width"]]:
    """Points, whose raw length is the logarithm of 1 + distance, and a confidence above 1."""
    # DUSt3R's exponential mode: the direction stays, and the clamp spares a point at the origin a division by zero.
    xyz = raw[:, :, :3].movedim(2, -1)
    length = xyz.norm(dim=-1, keepdim=True).clamp(min=1e-8)
    return xyz / length * torch.expm1(length), 1 + raw[:, :, 3].exp().clamp(max=CONFIDENCE_MAX - 1)
