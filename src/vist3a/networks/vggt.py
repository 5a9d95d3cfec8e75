"""VGGT (Wang et al., 2025): cameras, depth and pointmaps of a scene from its frames, and tracks of points if asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.networks.blocks import output
from vist3a.networks.blocks.camera_head import CameraHead
from vist3a.networks.blocks.config import NetworkConfig, TrunkConfig
from vist3a.networks.blocks.dpt_head import DPTHead
from vist3a.networks.blocks.stitchable import StitchableNetwork
from vist3a.networks.blocks.track_head import TrackHead
from vist3a.networks.blocks.track_transformer import HEADS as TRACK_HEADS
from vist3a.networks.blocks.transformer import initialise_linears
from vist3a.records import Reconstruction, Tracks


@dataclass(frozen=True)
class VGGTConfig(TrunkConfig):
    """Sizes of a VGGT; the defaults are those of the published 1B network.

    ``with_tracker`` builds the point tracker: feature maps of ``track_features`` channels, ``track_stride`` times smaller
    than the frames; correlation on ``track_levels`` scales within ``track_radius`` samples; a transformer of
    ``track_width`` and ``track_depth``, run ``track_iterations`` times.
    """

    with_tracker: bool = False
    track_features: int = 128
    track_stride: int = 2
    track_levels: int = 7
    track_radius: int = 4
    track_width: int = 384
    track_depth: int = 6
    track_iterations: int = 4

    def __post_init__(self) -> None:
        """Check the sizes of the tracker too."""
        super().__post_init__()
        if self.track_features % 4 or self.track_width % TRACK_HEADS:
            raise ValueError(
                f"track_features {self.track_features} must be a multiple of 4 and track_width {self.track_width} of "
                f"{TRACK_HEADS}"
            )


VGGT_1B = VGGTConfig()
VGGT_1B_TRACKER = VGGTConfig(with_tracker=True)


class VGGT(StitchableNetwork[VGGTConfig]):
    """Camera head, depth head, point head and, with a tracker, track head on the shared trunk."""

    config_class: ClassVar[type[TrunkConfig]] = VGGTConfig
    published: ClassVar[Mapping[str, NetworkConfig]] = MappingProxyType(
        {"vggt-1b": VGGT_1B, "vggt-1b-tracker": VGGT_1B_TRACKER}
    )
    needs_rgb = False
    has_gaussians = False
    points_from_depth = False

    def __init__(self, config: VGGTConfig) -> None:
        """Build with weights initialised for training from scratch."""
        super().__init__(config)
        width, special = 2 * config.embed_dim, config.special_tokens
        self.camera_head = CameraHead(config)
        self.point_head = DPTHead(width, config.dpt_channels, config.dpt_features, 4, special=special)
        self.depth_head = DPTHead(width, config.dpt_channels, config.dpt_features, 2, special=special)
        if config.with_tracker:
            self.track_head = TrackHead(
                width,
                config.dpt_channels,
                special,
                features=config.track_features,
                stride=config.track_stride,
                hidden=config.track_width,
                depth=config.track_depth,
                levels=config.track_levels,
                radius=config.track_radius,
            )
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
        # The heads compute in the type of their weights, whatever autocast is around them.
        with torch.autocast(last.device.type, enabled=False):
            # The first special token is the camera token.
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

    def track(
        self, frames: Float[Tensor, "batch views 3 height width"], queries: Float[Tensor, "batch points 2"]
    ) -> Tracks:
        """Tracks of ``queries`` (pixels (x, y) of the first frame) through RGB frames in [0, 1]."""
        self._require_tracker()
        taps, _ = self.trunk(frames)
        return self.tracks(taps, self.frame_size(*frames.shape[-2:]), queries)

    def tracks(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        queries: Float[Tensor, "batch points 2"],
        iterations: int | None = None,
    ) -> Tracks:
        """Tracks of ``queries`` (pixels (x, y) of the first frame) from what :meth:`trunk` or :meth:`run_from` gave.

        ``iterations`` of refinement, ``track_iterations`` of the config by default. From the second on, the network
        embeds motion at up to 1000 radians per sample: results then repeat to 1e-3 only between kernels.
        """
        self._require_tracker()
        levels = [taps[depth] for depth in self.config.taps]
        count = self.config.track_iterations if iterations is None else iterations
        with torch.autocast(levels[0].device.type, enabled=False):
            found: Tracks = self.track_head(levels, self.token_grid(*size), size, queries, count, self.head_chunk)
        return found

    def load_public_state_dict(
        self, state: Mapping[str, Tensor], origin: str | Path = "state dict", *, assign: bool = False
    ) -> None:
        """Load published weights; those of the tracker are ignored where it is not built, the rest must fit."""
        built = self.config.with_tracker
        kept = {key: value for key, value in state.items() if built or not key.startswith("track_head.")}
        super().load_public_state_dict(kept, origin, assign=assign)

    def _require_tracker(self) -> None:
        if not self.config.with_tracker:
            raise RuntimeError("this VGGT was built without its tracker: set with_tracker in its config")
