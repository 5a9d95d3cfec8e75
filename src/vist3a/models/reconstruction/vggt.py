"""VGGT (Wang et al., 2025): cameras, depth and pointmaps of a scene from its frames. The point tracker is not built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.models.reconstruction.blocks import output
from vist3a.models.reconstruction.blocks.camera_head import CameraHead
from vist3a.models.reconstruction.blocks.config import TrunkConfig
from vist3a.models.reconstruction.blocks.dpt_head import DPTHead
from vist3a.models.reconstruction.blocks.stitchable import StitchableNetwork
from vist3a.models.reconstruction.blocks.transformer import initialise_linears
from vist3a.records import Reconstruction


@dataclass(frozen=True)
class VGGTConfig(TrunkConfig):
    """Sizes of a VGGT; the defaults are those of the published 1B network."""


VGGT_1B = VGGTConfig()


class VGGT(StitchableNetwork[VGGTConfig]):
    """Camera head, depth head and point head on the shared trunk."""

    config_class: ClassVar[type[TrunkConfig]] = VGGTConfig
    ignored_public_prefixes: ClassVar[tuple[str, ...]] = ("track_head.",)
    needs_rgb = False

    def __init__(self, config: VGGTConfig) -> None:
        """Build with weights initialised for training from scratch."""
        super().__init__(config)
        width, special = 2 * config.embed_dim, config.special_tokens
        self.camera_head = CameraHead(config)
        self.point_head = DPTHead(width, config.dpt_channels, config.dpt_features, 4, special=special)
        self.depth_head = DPTHead(width, config.dpt_channels, config.dpt_features, 2, special=special)
        initialise_linears(self)
        self.camera_head.start_at_identity()

    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction for frames of ``size`` (height, width); ``rgb`` and ``with_gaussians`` have no effect here."""
        config, grid = self.config, self.token_grid(*size)
        last = taps[config.aggregator_depth - 1]
        levels = [taps[depth] for depth in config.taps]
        with torch.autocast(last.device.type, enabled=False):
            tokens = last[:, :, 0].to(self.camera_head.token_norm.weight.dtype)
            encodings = output.at_least_float32(self.camera_head(tokens))
            depth, depth_confidence = output.depth_and_confidence(self.depth_head(levels, grid, size, self.head_chunk))
            points, points_confidence = output.points_and_confidence(
                self.point_head(levels, grid, size, self.head_chunk)
            )
            return Reconstruction(
                cameras=output.cameras(encodings[-1], size),
                depth=depth,
                depth_confidence=depth_confidence,
                points=points,
                points_confidence=points_confidence,
                pose_encodings=encodings,
            )
