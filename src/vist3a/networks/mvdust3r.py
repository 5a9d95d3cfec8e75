"""MV-DUSt3R and MV-DUSt3R+ (Tang et al., 2024): pointmaps and 3D Gaussians of a scene from its frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.geometry.pointmap_cameras import cameras_from_pointmaps
from vist3a.geometry.spherical_harmonics import degree_of_bands, harmonics_from_color
from vist3a.networks.blocks.config import NetworkConfig
from vist3a.networks.blocks.mvdust3r_config import MVDust3rConfig
from vist3a.networks.blocks.mvdust3r_heads import (
    SCALE_FACTOR,
    PixelGaussianHead,
    PointmapHead,
    gaussian_channels,
    points_and_confidence,
)
from vist3a.networks.blocks.mvdust3r_trunk import MVDust3rTrunk
from vist3a.networks.blocks.output import at_least_float32
from vist3a.networks.blocks.transformer import initialise_linears
from vist3a.records import Gaussians, Reconstruction

MVDUST3R = MVDust3rConfig()
MVDUST3R_PLUS = MVDust3rConfig(references=4)


class MVDust3r(MVDust3rTrunk):
    """Linear pointmap and Gaussian heads on the last decoder layer: one pair for the reference view, one for the others.

    The network gives points in the first camera's frame and their confidence; what else the record asks for is derived.
    Cameras: :func:`cameras_from_pointmaps`, without gradient.
    Depth: z of a view's points in its estimated camera (its gradient runs through the points), with the confidence of
    the points. Gaussian features: per pixel the raw colour (3, in [-1, 1]; with ``sh_degree`` the coefficients, band by band),
    opacity logit, scale / 0.1 (3) and rotation wxyz (4).

    With several references only the path of the first view reaches the heads (its results are those to use), but the
    paths exchange information in every layer.

    Public checkpoints are pickled dictionaries; what ``load_public_state_dict`` takes is their entry ``model``.
    """

    published: ClassVar[Mapping[str, NetworkConfig]] = MappingProxyType(
        {"mvdust3r": MVDUST3R, "mvdust3r-plus": MVDUST3R_PLUS}
    )
    ignored_public_prefixes: ClassVar[tuple[str, ...]] = ("mask_token",)
    needs_rgb = True
    geometry_needs_rgb = True
    has_gaussians = True
    positive_depth = False

    def __init__(self, config: MVDust3rConfig) -> None:
        """Build with weights initialised for training from scratch."""
        super().__init__(config)
        self.head_chunk = config.head_chunk
        width, patch = config.decoder_dim, config.patch_size
        self.downstream_head1, self.downstream_head2 = (PointmapHead(width, patch, config.skip_dim) for _ in range(2))
        self.downstream_GS_head = nn.ModuleList(
            PixelGaussianHead(width, patch, config.gaussian_dim, config.sh_degree) for _ in range(2)
        )
        initialise_linears(self)

    @classmethod
    def sized_for(cls, config: MVDust3rConfig, state: Mapping[str, Tensor]) -> MVDust3rConfig:
        """See :meth:`EnterableNetwork.sized_for`: checkpoints differ in their color bands."""
        # The last layer of the color head has 3 * bands * patch^2 rows.
        weight = state.get("downstream_GS_head.0.mlp_rgb.2.weight")
        if weight is None:
            return config
        degree = degree_of_bands(len(weight) // (3 * config.patch_size**2))
        return replace(config, sh_degree=degree, input_colours=config.input_colours and degree == 0)

    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction for frames of ``size`` (height, width); ``with_gaussians`` false skips the Gaussian heads."""
        rgb, config = self.require_rgb(rgb, with_gaussians), self.config
        # Channels of the first path; the others have had their effect inside the decoder.
        tokens = taps[config.decoder_depth - 1][..., : config.decoder_dim].unflatten(2, self.token_grid(*size))
        with torch.autocast(tokens.device.type, enabled=False):
            raw, features = self.raw_maps(tokens, rgb, with_gaussians)
            points, confidence = points_and_confidence(raw)
            cameras = cameras_from_pointmaps(points.detach(), confidence.detach())
            pose = cameras.world_to_camera[:, :, None, None]
            return Reconstruction(
                cameras=cameras,
                depth=(points * pose[..., 2, :3]).sum(-1) + pose[..., 2, 3],
                depth_confidence=confidence,
                points=points,
                points_confidence=confidence,
                gaussians=None if features is None else self.gaussians(points, features, rgb),
                gaussian_features=features,
            )

    def require_rgb(
        self, rgb: Float[Tensor, "batch views 3 height width"] | None, with_gaussians: bool
    ) -> Float[Tensor, "batch views 3 new_height new_width"]:
        """See the template: the pointmap head reads the image too."""
        if rgb is None:
            raise ValueError(f"the pointmap head of {type(self).__name__} reads the image: pass rgb")
        return self.fit(rgb)

    def raw_maps(
        self,
        tokens: Float[Tensor, "batch views rows columns channels"],
        rgb: Float[Tensor, "batch views 3 height width"],
        with_gaussians: bool = True,
    ) -> tuple[Float[Tensor, "batch views 4 height width"], Float[Tensor, "batch views features height width"] | None]:
        """Raw points with confidence, and raw Gaussian features, of one path whose reference comes first."""
        tokens = self.dec_norm(tokens.to(self.dec_norm.weight.dtype))
        maps = self._by_role((self.downstream_head1, self.downstream_head2), tokens, 2 * rgb - 1)
        features = self._by_role(self.downstream_GS_head, tokens) if with_gaussians else None
        return maps, features

    def gaussians(
        self,
        points: Float[Tensor, "batch views height width 3"],
        features: Float[Tensor, "batch views features height width"],
        rgb: Float[Tensor, "batch views 3 height width"],
    ) -> Gaussians:
        """One Gaussian per pixel in the order view, row, column, from raw features; ``rgb`` in [0, 1].

        As published, the predicted colour gives way to that of the frame (see ``input_colours``), and scales are bounded
        in units of the points' mean distance; the rest is in the unit of the points.
        """
        means = points.flatten(1, 3)
        channels = gaussian_channels(self.config.sh_degree)
        colour, opacity, scale, rotation = features.movedim(2, -1).flatten(1, 3).split(channels, dim=-1)
        if self.config.sh_degree:
            harmonics = colour.unflatten(-1, (-1, 3))
        else:
            frames = rgb.to(means.dtype).movedim(2, -1).flatten(1, 3)
            # Predicted colors are in [-1, 1], as the network's images are.
            harmonics = harmonics_from_color(frames if self.config.input_colours else (colour + 1) / 2)
        unit = means.norm(dim=-1).mean(dim=1)[:, None, None]
        low, high = self.config.scale_limits
        return Gaussians(
            means=means,
            scales=(SCALE_FACTOR * scale / unit).clamp(low, high) * unit,
            rotations=F.normalize(rotation, dim=-1, eps=1e-5),
            opacities=opacity.squeeze(-1).sigmoid(),
            harmonics=harmonics,
        )

    def _by_role(self, heads: Iterable[nn.Module], *inputs: Tensor) -> Tensor:
        """The first head on the first view, the second on all others, by ``head_chunk`` frames; at least float32."""
        parts = []
        for head, views in zip(heads, (slice(0, 1), slice(1, None)), strict=True):
            chosen = [value[:, views] for value in inputs]
            if chosen[0].shape[1]:
                chunks = zip(*(value.flatten(0, 1).split(self.head_chunk) for value in chosen), strict=True)
                parts.append(torch.cat([head(*chunk) for chunk in chunks]).unflatten(0, chosen[0].shape[:2]))
        return at_least_float32(torch.cat(parts, dim=1))
