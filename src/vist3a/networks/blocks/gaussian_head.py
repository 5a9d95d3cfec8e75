"""Gaussian parameters per pixel: a dense head that also sees the image, and the activation of its raw channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.geometry.quaternion import wxyz_from_xyzw
from vist3a.networks.blocks.dpt_head import DPTHead
from vist3a.records import Gaussians


def raw_channels(sh_degree: int) -> int:
    """Raw channels of one Gaussian: density, scale (3), rotation (4), colour coefficients (3 per band)."""
    return 8 + 3 * (sh_degree + 1) ** 2


class GaussianHead(DPTHead):
    """Raw Gaussian channels and, last, a raw confidence per pixel; a 7x7 convolution of the image joins in."""

    def __init__(self, width: int, channels: Sequence[int], features: int, sh_degree: int, special: int) -> None:
        """Widths as in the dense head; ``sh_degree`` fixes the number of output channels."""
        merged = features // 2
        super().__init__(width, channels, features, raw_channels(sh_degree) + 1, hidden=merged, special=special)
        self.input_merger = nn.Sequential(nn.Conv2d(3, merged, 7, padding=3), nn.ReLU())

    def merge(
        self,
        features: Float[Tensor, "frames channels height width"],
        rgb: Float[Tensor, "frames 3 height width"] | None,
    ) -> Float[Tensor, "frames channels height width"]:
        """Add the image's features; ``rgb`` in [0, 1], not normalised."""
        if rgb is None:
            raise ValueError("the Gaussian head reads the image: pass rgb")
        return features + self.input_merger(rgb.to(features.dtype))


def activate(
    means: Float[Tensor, "batch n 3"], raw: Float[Tensor, "batch n channels"], scale_factor: float, scale_max: float
) -> Gaussians:
    """Gaussians from raw channels: density, scale (3), rotation xyzw (4), colour (3 x bands).

    Rotation and colour are already in the world frame. Higher colour bands are damped (0.1 * 0.25^degree) so that
    the view dependence starts weak.
    """
    density, scale, rotation, colour = raw.split([1, 3, 4, raw.shape[-1] - 8], dim=-1)
    # Published channels run over the bands of one color, then of the next.
    harmonics = colour.unflatten(-1, (3, -1)).transpose(-1, -2)
    # Added to the norm, not a floor below it, as in the published network.
    rotation = rotation / (rotation.norm(dim=-1, keepdim=True) + 1e-8)
    return Gaussians(
        means=means,
        scales=(scale_factor * F.softplus(scale)).clamp(max=scale_max),
        rotations=wxyz_from_xyzw(rotation),
        opacities=density.squeeze(-1).sigmoid(),
        harmonics=harmonics * band_factors(harmonics.shape[-2], harmonics)[:, None],
    )


def band_factors(bands: int, like: Tensor) -> Float[Tensor, " bands"]:
    """Damping of each colour band by its degree: 1, then 0.1 * 0.25^degree."""
    index = torch.arange(bands, device=like.device, dtype=like.dtype)
    # Band l * l + l + m has degree l.
    degree = index.sqrt().floor()
    return torch.where(degree > 0, 0.1 * 0.25**degree, torch.ones_like(degree))


def pad_scenes(scenes: Sequence[Gaussians]) -> Gaussians:
    """One batch from scenes of different sizes. Padding is invisible and finite: opacity 0, tiny, at the origin."""
    if len(scenes) == 1:
        return scenes[0]
    longest = max(scene.means.shape[1] for scene in scenes)

    def stack(name: str, fill: Sequence[float] | float) -> Tensor:
        parts = []
        for scene in scenes:
            values: Tensor = getattr(scene, name)
            padding = values.new_zeros(1, longest - values.shape[1], *values.shape[2:]) + values.new_tensor(fill)
            parts.append(torch.cat([values, padding], dim=1))
        return torch.cat(parts)

    return Gaussians(
        means=stack("means", 0.0),
        scales=stack("scales", 1e-6),
        rotations=stack("rotations", (1.0, 0.0, 0.0, 0.0)),
        opacities=stack("opacities", 0.0),
        harmonics=stack("harmonics", 0.0),
    )
