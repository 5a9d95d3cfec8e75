"""Sizes of an MV-DUSt3R."""

from __future__ import annotations

from dataclasses import dataclass

from vist3a.geometry.spherical_harmonics import MAX_DEGREE
from vist3a.networks.blocks.config import NetworkConfig


@dataclass(frozen=True)
class MVDust3rConfig(NetworkConfig):
    """The defaults are those of the published MV-DUSt3R; ``references`` 4 makes it the published MV-DUSt3R+.

    ``references`` is the number of paths through the decoder, each with another of the first views as its reference.
    ``scale_limits`` bound the scales of Gaussians, in units of the mean distance of the scene's points from the first
    camera. ``input_colours``: Gaussians take the colours of the frames, as published; false: those that the network
    predicts. ``sh_degree`` above 0: it predicts the coefficients of that many spherical harmonics, which are then used.
    ``head_chunk`` is the number of frames that the heads process at once. Any frame size divisible by
    ``patch_size`` can be run; the published weights know 224 x 224 only.
    """

    patch_size: int = 16
    embed_dim: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_dim: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    mlp_ratio: float = 4.0
    rope_base: float = 100.0
    references: int = 1
    skip_dim: int = 256
    gaussian_dim: int = 768
    scale_limits: tuple[float, float] = (1e-4, 4e-3)
    input_colours: bool = True
    sh_degree: int = 0
    head_chunk: int = 8

    def __post_init__(self) -> None:
        """Check what would otherwise fail far away from its cause."""
        for part, width, heads in (
            ("embed_dim", self.embed_dim, self.encoder_heads),
            ("decoder_dim", self.decoder_dim, self.decoder_heads),
        ):
            if width % (4 * heads):
                raise ValueError(f"{part} {width} must be a multiple of {4 * heads} (2D rotation in {heads} heads)")
        for name in ("encoder_depth", "decoder_depth", "references", "head_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        if not 0 <= self.sh_degree <= MAX_DEGREE:
            raise ValueError(f"sh_degree {self.sh_degree} must be 0 to {MAX_DEGREE}")
        if self.sh_degree and self.input_colours:
            raise ValueError("input_colours has one color for a Gaussian: with sh_degree above 0 it must be false")
        if len(self.scale_limits) != 2 or not 0 < self.scale_limits[0] < self.scale_limits[1]:
            raise ValueError(f"scale_limits {self.scale_limits} must be two ascending positive numbers")
