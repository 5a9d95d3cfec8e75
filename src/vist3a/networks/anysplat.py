"""AnySplat (Jiang et al., 2025): cameras, depth and 3D Gaussians of a scene from its frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.geometry.projection import unproject_depth
from vist3a.networks.blocks import output
from vist3a.networks.blocks.camera_head import CameraHead
from vist3a.networks.blocks.config import NetworkConfig, TrunkConfig
from vist3a.networks.blocks.dpt_head import DPTHead
from vist3a.networks.blocks.gaussian_head import GaussianHead, activate, pad_scenes
from vist3a.networks.blocks.stitchable import StitchableNetwork
from vist3a.networks.blocks.transformer import initialise_linears
from vist3a.networks.blocks.voxelize import voxelize
from vist3a.records import Gaussians, Reconstruction


@dataclass(frozen=True)
class AnySplatConfig(TrunkConfig):
    """Sizes of an AnySplat; the defaults are those of the published network.

    ``voxel_size`` (world units; None: one Gaussian per pixel) is the fusion cell. Gaussian scales are
    ``scale_factor`` * softplus, at most ``scale_max`` (world units). ``pixel_offset`` is where in a pixel its depth is
    unprojected: 0 in the published network, 0.5 for pixel centres. ``tangent_offset`` is added to the tangent of half
    the field of view, which the published network does against division by zero (VGGT does not); with it, cameras are
    slightly wider than their encodings say, so networks trained here should set 0.
    """

    gs_features: int = 256
    gs_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    sh_degree: int = 4
    voxel_size: float | None = 0.002
    scale_factor: float = 0.001
    scale_max: float = 0.3
    pixel_offset: float = 0.0
    tangent_offset: float = 0.001

    def __post_init__(self) -> None:
        """Check the sizes of the Gaussian head too."""
        super().__post_init__()
        if len(self.gs_channels) != 4 or self.gs_features % 8 or any(width % 4 for width in self.gs_channels):
            raise ValueError("gs_channels must be 4 multiples of 4 and gs_features a multiple of 8")
        if self.voxel_size is not None and self.voxel_size <= 0:
            raise ValueError(f"voxel_size {self.voxel_size} must be positive, or None for one Gaussian per pixel")


ANYSPLAT = AnySplatConfig()


class AnySplat(StitchableNetwork[AnySplatConfig]):
    """Camera head, depth head and Gaussian head on the shared trunk.

    ``voxel_size`` may be changed at any time; None gives one Gaussian per pixel in the order view, row, column.
    """

    config_class: ClassVar[type[TrunkConfig]] = AnySplatConfig
    published: ClassVar[Mapping[str, NetworkConfig]] = MappingProxyType({"anysplat": ANYSPLAT})
    ignored_public_prefixes: ClassVar[tuple[str, ...]] = ("distill_",)
    needs_rgb = True
    has_gaussians = True

    def __init__(self, config: AnySplatConfig) -> None:
        """Build with weights initialised for training from scratch."""
        super().__init__(config)
        width, special = 2 * config.embed_dim, config.special_tokens
        self.voxel_size = config.voxel_size
        self.camera_head = CameraHead(config)
        self.depth_head = DPTHead(width, config.dpt_channels, config.dpt_features, 2, special=special)
        self.gaussian_param_head = GaussianHead(
            width, config.gs_channels, config.gs_features, config.sh_degree, special
        )
        initialise_linears(self)
        self.camera_head.start_at_identity()

    def one_gaussian_per_pixel(self) -> None:
        """See :meth:`ReconstructionModel.one_gaussian_per_pixel`: no voxels."""
        self.voxel_size = None

    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction for frames of ``size`` (height, width).

        ``with_gaussians`` false skips the Gaussian head, which is the only one that reads ``rgb``.
        """
        rgb = self.require_rgb(rgb, with_gaussians)
        config, grid = self.config, self.token_grid(*size)
        last = taps[config.aggregator_depth - 1]
        levels = [taps[depth] for depth in config.taps]
        # The heads compute in the type of their weights, whatever autocast is around them.
        with torch.autocast(last.device.type, enabled=False):
            # The first special token is the camera token.
            tokens = last[:, :, 0].to(self.camera_head.token_norm.weight.dtype)
            encodings = output.at_least_float32(self.camera_head(tokens))
            cameras = output.cameras(encodings[-1], size, config.tangent_offset)
            depth, confidence = output.depth_and_confidence(self.depth_head(levels, grid, size, self.head_chunk))
            points = unproject_depth(depth, cameras, config.pixel_offset)
            raw = gaussians = None
            if with_gaussians:
                raw = output.at_least_float32(self.gaussian_param_head(levels, grid, size, self.head_chunk, rgb))
                gaussians = self.gaussians(points, raw[:, :, :-1], raw[:, :, -1])
        return Reconstruction(
            cameras=cameras,
            depth=depth,
            depth_confidence=confidence,
            points=points,
            points_confidence=confidence,
            pose_encodings=encodings,
            gaussians=gaussians,
            gaussian_features=None if raw is None else raw[:, :, :-1],
            gaussian_confidence=None if raw is None else raw[:, :, -1],
        )

    def gaussians(
        self,
        points: Float[Tensor, "batch views height width 3"],
        features: Float[Tensor, "batch views channels height width"],
        confidence: Float[Tensor, "batch views height width"],
    ) -> Gaussians:
        """Activated Gaussians from raw channels: fused per voxel, or one per pixel when ``voxel_size`` is None.

        Scenes with fewer voxels than the largest of the batch are padded with invisible Gaussians.
        """
        means = points.flatten(1, 3)
        raw = features.movedim(2, -1).flatten(1, 3)
        factor, limit = self.config.scale_factor, self.config.scale_max
        if self.voxel_size is None:
            return activate(means, raw, factor, limit)
        fused = [
            voxelize(scene_means, scene_raw, scene_confidence, self.voxel_size)
            for scene_means, scene_raw, scene_confidence in zip(means, raw, confidence.flatten(1), strict=True)
        ]
        return pad_scenes([activate(mean[None], channels[None], factor, limit) for mean, channels in fused])

    def reconstruct_released(
        self,
        patch_tokens: Float[Tensor, "batch views rows columns channels"],
        first_block: int,
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Entry as in the published VIST3A checkpoints, for reading those only.

        ``patch_tokens`` stand for the output of the first ``first_block`` encoder blocks; class token, positions (a
        second time) and raw registers are added as if they entered block 0, then block ``first_block`` follows.
        """
        self.require_rgb(rgb, with_gaussians)
        if not 0 < first_block <= self.config.encoder_depth:
            raise ValueError(f"first_block {first_block} must lie in 1..{self.config.encoder_depth}")
        self._require_entry(first_block - 1)
        grid = self.token_grid(*size)
        batch, views, rows, columns, _ = patch_tokens.shape
        if (rows, columns) != grid:
            raise ValueError(f"patch tokens lie on a {rows}x{columns} grid, frames of this size on {grid[0]}x{grid[1]}")
        encoder = self.aggregator.patch_embed
        if encoder is None or encoder.cls_token is None:
            raise RuntimeError("the encoder's embedding was dropped: use drop_before(..., keep_embedding=True)")
        patches = patch_tokens.flatten(0, 1).to(self.entry_dtype(first_block - 1, patch_tokens.dtype))
        tokens = encoder.add_positions(patches).unflatten(0, (batch, views))
        last = len(self.aggregator.stages) - 1
        # The tokens pass for the output of encoder block ``first_block - 1``.
        taps, _ = self.aggregator.run(tokens, grid, first_block - 1, last)
        return self.heads(taps, size, rgb, with_gaussians)
