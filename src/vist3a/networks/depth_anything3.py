"""Depth Anything 3, any-view (Lin et al., 2025): cameras, depth, rays and (giant) Gaussians of a scene from its frames.

The metric, monocular and nested networks are not built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Float
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
from vist3a.networks.blocks.dpt_head import recompute_heads
from vist3a.networks.blocks.enterable import EnterableNetwork
from vist3a.networks.blocks.image_norm import normalise_images
from vist3a.networks.blocks.transformer import initialise_linears
from vist3a.records import Cameras, Reconstruction, StitchPoint, TokenState

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
    to the first, of median distance 1 (:func:`normalise_cameras`). The world is then theirs, up to scale.

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
        return self.backbone.points(self.reference_strategy)

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks of the backbone and dense heads are recomputed in the backward pass instead of stored."""
        return self.backbone.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        self.backbone.gradient_checkpointing = value
        recompute_heads(self, value)

    def trunk(
        self,
        frames: Float[Tensor, "batch views 3 height width"],
        keep: Sequence[str] = (),
        cameras: Cameras | None = None,
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """Taps of all blocks that heads read (see ``Backbone``) and the states at the points ``keep``."""
        return self._run_frames(frames, keep, self.config.depth - 1, cameras)

    def run_from(
        self,
        state: TokenState,
        size: tuple[int, int],
        keep: Sequence[str] = (),
        until: str | None = None,
        cameras: Cameras | None = None,
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """As :meth:`trunk`, continuing behind ``state.point`` up to ``until`` for frames of ``size`` (height, width).

        Behind the last block before the alternation the state must say which view is the reference, where the
        strategy reads tokens and no ``cameras`` are given.
        """
        self._stages(keep)
        stage = self._stages([state.point])[0]
        self._require_entry(stage)
        grid, last = self.token_grid(*size), self.config.depth - 1 if until is None else self._stages([until])[0]
        # The final norm is what every entry has left of the backbone.
        dtype = self.backbone.pretrained.norm.weight.dtype
        tokens, taps = self._check(state, grid, self.backbone.required_taps(stage), dtype)
        strategy = self.reference_strategy
        poses = reference = None
        if cameras is None:
            reference = self.backbone.reference_at(stage, tokens, strategy, state.reference)
        elif stage < self.config.alt_start:
            poses = self.cam_enc(cameras, size)
        return self.backbone.run(
            tokens, grid, stage, last, strategy, poses=poses, reference=reference, taps=taps, keep=keep
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
        rgb = self._require_rgb(rgb, with_gaussians)
        config, grid = self.config, self.token_grid(*size)
        levels = [taps[depth] for depth in config.taps]
        with torch.autocast(levels[-1].device.type, enabled=False):
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

    def tokens_at(
        self,
        points: Sequence[str],
        frames: Float[Tensor, "batch views 3 height width"],
        cameras: Cameras | None = None,
    ) -> dict[str, TokenState]:
        """States at the named points for RGB frames in [0, 1]; nothing behind the last of them is run."""
        stages = self._stages(points)
        return self._run_frames(frames, points, max(stages), cameras)[1] if stages else {}

    def reconstruct(
        self,
        frames: Float[Tensor, "batch views 3 height width"],
        with_gaussians: bool = True,
        cameras: Cameras | None = None,
    ) -> Reconstruction:
        """The whole network on RGB frames in [0, 1]; ``with_gaussians`` false skips the Gaussian head."""
        taps, _ = self.trunk(frames, cameras=cameras)
        return self.heads(taps, self.frame_size(*frames.shape[-2:]), frames, with_gaussians, cameras)

    def forward(
        self,
        frames: Float[Tensor, "batch views 3 height width"],
        with_gaussians: bool = True,
        cameras: Cameras | None = None,
    ) -> Reconstruction:
        """Same as :meth:`reconstruct`, so that wrappers that hook the call of a module work."""
        return self.reconstruct(frames, with_gaussians, cameras)

    def reconstruct_from(
        self,
        state: TokenState,
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
        cameras: Cameras | None = None,
    ) -> Reconstruction:
        """The rest of the network behind ``state.point`` (exact entry) for frames of ``size`` (height, width)."""
        self._require_rgb(rgb, with_gaussians)
        taps, _ = self.run_from(state, size, cameras=cameras)
        return self.heads(taps, size, rgb, with_gaussians, cameras)

    def exported_features(self, state: TokenState) -> Float[Tensor, "batch views rows columns channels"]:
        """The features of a block that the published network exports: its patches behind the final norm."""
        return self.backbone.pretrained.norm(state.patch_tokens)

    def drop_before(self, point: str) -> None:
        """Delete the parameters that nothing behind ``point`` uses; keys of the remaining ones do not change."""
        stage = self._stages([point])[0]
        self._require_entry(stage)
        alternating = stage >= self.config.alt_start
        self.backbone.pretrained.drop_before(stage, camera_token=alternating)
        if alternating:
            del self.cam_enc
        self.entry = point

    def _run_frames(
        self, frames: Tensor, keep: Sequence[str], last: int, cameras: Cameras | None
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        self._stages(keep)
        frames = self.fit(frames)
        size = (frames.shape[-2], frames.shape[-1])
        grid = self.token_grid(*size)
        self._require_entry(-1)
        tokens = self.backbone.embed(normalise_images(frames))
        poses = None if cameras is None else self.cam_enc(cameras, size)
        return self.backbone.run(tokens, grid, -1, last, self.reference_strategy, poses=poses, keep=keep)
