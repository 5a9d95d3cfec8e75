"""Depth Anything 3, any-view (Lin et al., 2025): cameras, depth, rays and (giant) Gaussians of a scene from its frames.

The metric, monocular and nested networks are not built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.geometry.projection import unproject_depth
from vist3a.networks.blocks import output
from vist3a.networks.blocks.config import NetworkConfig
from vist3a.networks.blocks.da3_backbone import Backbone
from vist3a.networks.blocks.da3_camera import (
    CameraDecoder,
    CameraEncoder,
    decoded_cameras,
    normalise_cameras,
    scale_to,
)
from vist3a.networks.blocks.da3_config import (
    DA3_BASE,
    DA3_GIANT,
    DA3_LARGE,
    DA3_SMALL,
    DepthAnything3Config,
)
from vist3a.networks.blocks.da3_dual_head import UNUSED_RAY_LAYERS, DualDPTHead
from vist3a.networks.blocks.da3_gaussians import GaussianDPTHead, enlarged, place
from vist3a.networks.blocks.da3_reference import SMALLEST_CHOICE, reads_tokens
from vist3a.networks.blocks.dpt_head import recompute_heads
from vist3a.networks.blocks.image_norm import normalise_images
from vist3a.networks.blocks.transformer import initialise_linears
from vist3a.networks.template import EnterableNetwork, Grid, States, Taps
from vist3a.records import Cameras, Reconstruction, StitchPoint

__all__ = [
    "DA3_BASE",
    "DA3_GIANT",
    "DA3_LARGE",
    "DA3_SMALL",
    "DepthAnything3",
    "DepthAnything3Config",
    "normalise_cameras",
]

SCALE_LIMIT = 3.0
"""Known cameras change the scale of the Gaussians by at most this factor."""


class DepthAnything3(EnterableNetwork[DepthAnything3Config]):
    """Backbone with alternating attention, camera decoder, dual dense head and, if ``config`` says so, Gaussian head.

    The world is the camera of the reference view. ``reference_strategy`` may be changed at any time; ``first`` makes it the
    first view for any input, so that original and stitched network agree, and makes the last point before the
    alternation a complete entry. States stay in the order of the frames at every point.

    Wherever ``cameras`` [batch, views] are taken, they are known cameras as the backbone was trained with: relative
    to the first, over the median distance from it or 0.1 (:func:`normalise_cameras`). The world is then theirs, up to scale.

    Half precision: ``mixed_precision``, or ``model.backbone.bfloat16()`` (half the memory of tokens, coarser), or
    autocast. The heads compute in the dtype of their own weights with autocast off.
    """

    config_class: ClassVar[type[DepthAnything3Config]] = DepthAnything3Config
    published: ClassVar[Mapping[str, NetworkConfig]] = MappingProxyType(
        {"da3-small": DA3_SMALL, "da3-base": DA3_BASE, "da3-large": DA3_LARGE, "da3-giant": DA3_GIANT}
    )
    trunk_parts: ClassVar[tuple[str, ...]] = ("backbone",)
    public_prefix: ClassVar[str] = "model."
    ignored_public_prefixes: ClassVar[tuple[str, ...]] = UNUSED_RAY_LAYERS

    def __init__(self, config: DepthAnything3Config) -> None:
        """Build with weights initialised for training from scratch."""
        super().__init__(config)
        width = 2 * config.embed_dim
        self.patch_size = config.patch_size
        self.head_chunk = config.head_chunk
        self.reference_strategy = config.reference_strategy
        self.needs_rgb = self.has_gaussians = config.sh_degree is not None
        self.backbone = Backbone(config)
        self.stages = self.backbone.points(config.reference_strategy)
        self.head = DualDPTHead(width, config.dpt_channels, config.dpt_features)
        self.cam_dec = CameraDecoder(width)
        self.cam_enc = CameraEncoder(config)
        if config.sh_degree is not None:
            self.gs_head = GaussianDPTHead(width, config.dpt_channels, config.dpt_features, config.sh_degree)
        initialise_linears(self)
        self.cam_dec.start_at_identity()

    @property
    def stitch_points(self) -> tuple[StitchPoint, ...]:
        """Every block of the backbone."""
        # Made anew, as the strategy may change, and with it which points are complete.
        return self.backbone.points(self.reference_strategy)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks of the backbone and dense heads are recomputed in the backward pass instead of stored."""
        return self.backbone.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        self.backbone.gradient_checkpointing = value
        recompute_heads(self, value)

    def origin_view(self, views: int) -> int | None:
        """None: that the camera of the reference view is the world is learned."""
        return None

    def fixed_views(self, views: int) -> tuple[int, ...]:
        """The reference view where its place makes it that; none where it is chosen by what the views show."""
        if reads_tokens(self.reference_strategy) and views >= SMALLEST_CHOICE:
            return ()
        return (views // 2 if self.reference_strategy == "middle" and views >= SMALLEST_CHOICE else 0,)

    def embed(
        self, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views tokens channels"]:
        """See ``Backbone``."""
        return self.backbone.embed(normalise_images(frames))

    def required_taps(self, stage: int) -> dict[int, tuple[int, int]]:
        """See ``Backbone``."""
        return {depth: (1, width) for depth, width in self.backbone.required_taps(stage).items()}

    def entry_dtype(self, stage: int, given: torch.dtype) -> torch.dtype:
        """That of the final norm, which is what every entry has left of the backbone."""
        return self.backbone.pretrained.norm.weight.dtype

    def run(
        self,
        tokens: Float[Tensor, "batch views tokens channels"],
        grid: Grid,
        first: int,
        last: int,
        taps: Mapping[int, Tensor],
        keep: Sequence[str],
        reference: Int[Tensor, " batch"] | None = None,
        cameras: Cameras | None = None,
    ) -> tuple[Taps, States]:
        """As the template.

        Behind the last block before the alternation the state must say which view is the reference, where the
        strategy reads tokens and no ``cameras`` are given.
        """
        strategy, poses = self.reference_strategy, None
        # Known cameras leave no reference to choose; behind ``alt_start`` the tokens contain them already.
        if cameras is not None:
            reference = None
            if first < self.config.alt_start:
                poses = self.cam_enc(cameras, (grid[0] * self.patch_size, grid[1] * self.patch_size))
        elif first >= 0:
            reference = self.backbone.reference_at(first, tokens, strategy, reference)
        return self.backbone.run(
            tokens, grid, first, last, strategy, poses=poses, reference=reference, taps=taps, keep=keep
        )

    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
        cameras: Cameras | None = None,
    ) -> Reconstruction:
        """Reconstruction for frames of ``size`` (height, width).

        ``with_gaussians`` false skips the Gaussian head, which is the only one that reads ``rgb`` and whose Gaussians
        are the only output that ``cameras`` still changes here: they take the scale of the known cameras.
        """
        rgb = self.require_rgb(rgb, with_gaussians)
        config, grid = self.config, self.token_grid(*size)
        levels = [taps[depth] for depth in config.taps]
        with torch.autocast(levels[-1].device.type, enabled=False):
            # One answer, not refined: a single iteration for the record.
            encoding = output.at_least_float32(self.cam_dec(levels[-1][:, :, 0]))
            predicted = decoded_cameras(encoding, size)
            raw_depth, raw_rays = self.head(levels, grid, size, self.head_chunk)
            depth, confidence = output.depth_and_confidence(raw_depth)
            rays = output.at_least_float32(raw_rays).movedim(2, -1)
            raw = gaussians = None
            if with_gaussians and config.sh_degree is not None:
                raw = output.at_least_float32(self.gs_head(levels, grid, size, self.head_chunk, rgb))
                gaussians = place(raw[:, :, :-1], raw[:, :, -1], depth, predicted, config.scale_min, config.scale_max)
                if cameras is not None:
                    factor = scale_to(predicted, cameras).clamp(1 / SCALE_LIMIT, SCALE_LIMIT)
                    gaussians = enlarged(gaussians, factor)
            return Reconstruction(
                cameras=predicted,
                depth=depth,
                depth_confidence=confidence,
                points=unproject_depth(depth, predicted),
                points_confidence=confidence,
                pose_encodings=encoding[None],
                gaussians=gaussians,
                gaussian_features=None if raw is None else raw[:, :, :-1],
                gaussian_confidence=None if raw is None else raw[:, :, -1],
                rays=rays[..., :-1],
                rays_confidence=1 + rays[..., -1].exp(),
            )

    def exported_features(self, state: TokenState) -> Float[Tensor, "batch views rows columns channels"]:
        """The features of a block that the published network exports: its patches behind the final norm."""
        return self.backbone.pretrained.norm(state.patch_tokens)

    def drop(self, stage: int) -> None:
        """See the template."""
        # Camera tokens, learned or of known cameras, come in at ``alt_start``.
        alternating = stage >= self.config.alt_start
        self.backbone.pretrained.drop_before(stage, camera_token=alternating)
        if alternating:
            del self.cam_enc
