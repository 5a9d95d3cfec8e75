"""Sizes of a network as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

ConfigT = TypeVar("ConfigT", bound="NetworkConfig")


@dataclass(frozen=True)
class NetworkConfig:
    """Base of the configurations: they become JSON and come back."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        # JSON has no tuples.
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
        """Inverse of :meth:`to_dict`; ValueError on unknown names, so that a typo is not silently a default."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown {cls.__name__} fields: {', '.join(sorted(unknown))}")
        sizes: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**sizes)


@dataclass(frozen=True)
class TrunkConfig(NetworkConfig):
    """Sizes of a network of the VGGT family: encoder, alternating-attention aggregator, camera head, depth/point heads.

    ``taps`` are the four aggregator depths whose features the dense heads read, shallow to deep; the camera head
    always reads the last depth. ``img_size`` (pixels) only fixes the grid of the learned position table: any frame
    size divisible by ``patch_size`` can be run. ``head_chunk`` is the number of frames the dense heads process at once.
    """

    img_size: int = 518
    patch_size: int = 14
    embed_dim: int = 1024
    num_heads: int = 16
    encoder_depth: int = 24
    encoder_heads: int = 16
    aggregator_depth: int = 24
    mlp_ratio: float = 4.0
    num_registers: int = 4
    camera_depth: int = 4
    camera_heads: int = 16
    camera_iterations: int = 4
    dpt_features: int = 256
    dpt_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    taps: tuple[int, ...] = (4, 11, 17, 23)
    layer_scale_init: float = 1e-5
    aggregator_layer_scale_init: float = 0.01
    rope_base: float = 100.0
    head_chunk: int = 8

    def __post_init__(self) -> None:
        """Check what would otherwise fail far away from its cause."""
        if self.img_size % self.patch_size:
            raise ValueError(f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}")
        if self.embed_dim % self.encoder_heads or self.embed_dim % (4 * self.num_heads):
            raise ValueError(
                f"embed_dim {self.embed_dim} must be a multiple of encoder_heads ({self.encoder_heads}) and of "
                f"4 * num_heads ({4 * self.num_heads}, for the 2D rotation)"
            )
        if len(self.taps) != 4 or len(self.dpt_channels) != 4:
            raise ValueError(f"the dense heads need 4 taps and 4 widths, got {self.taps} and {self.dpt_channels}")
        if list(self.taps) != sorted(set(self.taps)) or not 0 <= self.taps[0] <= self.taps[-1] < self.aggregator_depth:
            raise ValueError(f"taps {self.taps} must ascend within 0..{self.aggregator_depth - 1}")
        if self.dpt_features % 8 or any(width % 4 for width in self.dpt_channels):
            raise ValueError("dpt_features must be a multiple of 8 and dpt_channels of 4 (position sinusoids)")

    @property
    def special_tokens(self) -> int:
        """Special tokens per frame: class or camera token and the registers."""
        return 1 + self.num_registers

    @property
    def kept_depths(self) -> tuple[int, ...]:
        """Aggregator depths whose features some head reads."""
        return tuple(sorted({*self.taps, self.aggregator_depth - 1}))
