"""Sizes of Depth Anything 3 (any-view), and those of the four published networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from vist3a.geometry.spherical_harmonics import MAX_DEGREE
from vist3a.networks.blocks.config import NetworkConfig
from vist3a.networks.blocks.da3_reference import ReferenceStrategy


@dataclass(frozen=True)
class DepthAnything3Config(NetworkConfig):
    """Sizes of backbone and heads; the defaults are those of the published large network.

    One chain of ``depth`` blocks: before ``alt_start`` every block sees one view, from there on the odd blocks see all
    views of a scene together. ``qk_norm_start`` and ``rope_start`` are the first blocks with normalised queries and keys
    and with rotary positions. ``taps`` are the four blocks whose features the heads read, shallow to deep, the last one
    being the last block. ``img_size`` (pixels) only fixes the grid of the learned position table: any frame size divisible
    by ``patch_size`` can be run. ``sh_degree`` None: no Gaussian head. Gaussian scales are ``scale_min`` to ``scale_max``
    tenths of a pixel's width plus its height, so of square pixels fifths of a side. ``reference_strategy`` is how the view
    whose camera is the world frame is chosen (see ``da3_reference``). ``head_chunk`` is the number of frames that the dense
    heads process at once.
    """

    img_size: int = 518
    patch_size: int = 14
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16
    mlp: Literal["gelu", "swiglu"] = "gelu"
    mlp_ratio: float = 4.0
    alt_start: int = 8
    qk_norm_start: int = 8
    rope_start: int = 8
    rope_base: float = 100.0
    taps: tuple[int, ...] = (11, 15, 19, 23)
    camera_depth: int = 4
    camera_heads: int = 16
    dpt_features: int = 256
    dpt_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    sh_degree: int | None = None
    scale_min: float = 1e-5
    scale_max: float = 30.0
    reference_strategy: ReferenceStrategy = "saddle_balanced"
    layer_scale_init: float = 1e-5
    head_chunk: int = 8

    def __post_init__(self) -> None:
        """Check what would otherwise fail far away from its cause."""
        if self.img_size % self.patch_size:
            raise ValueError(f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}")
        if self.embed_dim % (4 * self.num_heads) or self.embed_dim % self.camera_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} must be a multiple of 4 * num_heads ({4 * self.num_heads}, for the 2D "
                f"rotation) and of camera_heads ({self.camera_heads})"
            )
        if self.mlp not in ("gelu", "swiglu"):
            raise ValueError(f"mlp {self.mlp!r}; allowed: gelu, swiglu")
        # The reference view is chosen in the block before ``alt_start``, so that there must be one.
        if not 1 <= self.alt_start < self.depth:
            raise ValueError(f"alt_start {self.alt_start} must lie in 1..{self.depth - 1} (depth {self.depth})")
        if len(self.taps) != 4 or len(self.dpt_channels) != 4:
            raise ValueError(f"the dense heads need 4 taps and 4 widths, got {self.taps} and {self.dpt_channels}")
        ascending = list(self.taps) == sorted(set(self.taps))
        if not ascending or self.taps[0] <= self.alt_start or self.taps[-1] != self.depth - 1:
            raise ValueError(
                f"taps {self.taps} must ascend, start behind alt_start ({self.alt_start}) and end at the last block "
                f"({self.depth - 1})"
            )
        if self.dpt_features % 8 or any(width % 4 for width in self.dpt_channels):
            raise ValueError("dpt_features must be a multiple of 8 and dpt_channels of 4 (position sinusoids)")
        if self.sh_degree is not None and not 0 <= self.sh_degree <= MAX_DEGREE:
            raise ValueError(f"sh_degree {self.sh_degree} must lie in 0..{MAX_DEGREE}, or be None (no Gaussian head)")
        if not 0 < self.scale_min < self.scale_max:
            raise ValueError(f"scale_min {self.scale_min} must be positive and below scale_max {self.scale_max}")
        if self.reference_strategy not in get_args(ReferenceStrategy):
            allowed = ", ".join(get_args(ReferenceStrategy))
            raise ValueError(f"reference_strategy {self.reference_strategy!r}; allowed: {allowed}")

    def is_global(self, block: int) -> bool:
        """Whether a block attends over all views of a scene."""
        return block >= self.alt_start and block % 2 == 1


DA3_SMALL = DepthAnything3Config(
    embed_dim=384,
    depth=12,
    num_heads=6,
    alt_start=4,
    qk_norm_start=4,
    rope_start=4,
    taps=(5, 7, 9, 11),
    dpt_features=64,
    dpt_channels=(48, 96, 192, 384),
)
DA3_BASE = DepthAnything3Config(
    embed_dim=768,
    depth=12,
    num_heads=12,
    alt_start=4,
    qk_norm_start=4,
    rope_start=4,
    taps=(5, 7, 9, 11),
    dpt_features=128,
    dpt_channels=(96, 192, 384, 768),
)
DA3_LARGE = DepthAnything3Config()
DA3_GIANT = DepthAnything3Config(
    embed_dim=1536,
    depth=40,
    num_heads=24,
    mlp="swiglu",
    alt_start=13,
    qk_norm_start=13,
    rope_start=13,
    taps=(19, 27, 33, 39),
    sh_degree=2,
)
