"""A 3D network that does not know which view is the first, in the manner of Pi3 (Wang et al., 2025), from the paper's idea.

No camera token and no view with a role of its own: of every view the network says its points in the view's own camera, and
where that camera stands in a world that is no view's. Register tokens stand behind the patches. Whatever the order of the
views, they get the same results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vist3a.geometry.pointmap_cameras import focal_from_pointmap
from vist3a.networks.blocks.config import NetworkConfig
from vist3a.networks.blocks.rope import grid_rotation
from vist3a.networks.blocks.transformer import Block
from vist3a.networks.blocks.vit import PatchProjection
from vist3a.networks.template import EnterableNetwork
from vist3a.records import ONE_ROLE, Cameras, Reconstruction, StitchPoint

ROPE_BASE = 100.0


@dataclass(frozen=True)
class EquivariantConfig(NetworkConfig):
    """Sizes; decoder blocks attend within a view (even ones) and across all views (odd ones) in turn."""

    patch_size: int = 4
    embed_dim: int = 32
    heads: int = 2
    encoder_depth: int = 2
    decoder_depth: int = 4
    registers: int = 3
    mlp_ratio: float = 2.0

    def __post_init__(self) -> None:
        """Check what would otherwise fail far away from its cause."""
        if self.embed_dim % (4 * self.heads):
            raise ValueError(f"embed_dim {self.embed_dim} must be a multiple of {4 * self.heads} (2D rotation)")
        if self.decoder_depth < 2 or self.decoder_depth % 2:
            raise ValueError(f"decoder_depth {self.decoder_depth} must be even and at least 2")


class EquivariantNetwork(EnterableNetwork[EquivariantConfig]):
    """Encoder per view, decoder across views, then a pointmap and a camera of every view."""

    config_class = EquivariantConfig
    trunk_parts = ("patch_embed", "blocks")
    embedding_parts = ("patch_embed",)
    needs_rgb = False
    has_gaussians = False
    token_roles = ONE_ROLE

    def __init__(self, config: EquivariantConfig) -> None:
        super().__init__(config)
        width, encoder, decoder = config.embed_dim, config.encoder_depth, config.decoder_depth
        self.patch_size = config.patch_size
        self.stages = (
            *(StitchPoint(f"encoder.{k:02d}", "encoder", width, 0, per_view=True) for k in range(encoder)),
            *(
                StitchPoint(f"decoder.{k:02d}", "decoder", width, config.registers, per_view=not k)
                for k in range(decoder)
            ),
        )
        self.read = (encoder + decoder - 2, encoder + decoder - 1)
        self.patch_embed = PatchProjection(config.patch_size, width)
        self.blocks = nn.ModuleList(Block(width, config.heads, config.mlp_ratio) for _ in self.stages)
        self.registers = nn.Parameter(0.5 * torch.randn(config.registers, width))
        self.norm = nn.LayerNorm(2 * width)
        # Of a pixel: x/z, y/z, log z and log of the confidence above 1.
        self.point_head = nn.Linear(2 * width, 4 * config.patch_size**2)
        # Of a view: two columns of the rotation, and the place.
        self.camera_head = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 9))

    def fixed_views(self, views: int) -> tuple[int, ...]:
        """None: all views are alike."""
        return ()

    def origin_view(self, views: int) -> int | None:
        """None: the world is no view's."""
        return None

    def join(self, special: Tensor, patches: Tensor) -> Tensor:
        """Registers behind the patches."""
        return torch.cat([patches, special], dim=2)

    def part(self, tokens: Tensor, special: int) -> tuple[Tensor, Tensor]:
        """Inverse of :meth:`join`."""
        patches = tokens.shape[2] - special
        return tokens[:, :, patches:], tokens[:, :, :patches]

    def embed(self, frames: Tensor) -> Tensor:
        """Patches alone."""
        images = (2 * frames - 1).to(self.patch_embed.proj.weight.dtype)
        tokens = self.patch_embed(images.flatten(0, 1)).flatten(1, 2).unflatten(0, frames.shape[:2])
        return tokens.to(self.norm.weight.dtype)

    def advance(self, stage: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """One block, on the tokens of a view or of all views."""
        depth = stage - self.config.encoder_depth
        if depth == 0:
            own = self.registers.to(tokens.dtype).expand(*tokens.shape[:2], -1, -1)
            tokens = self.join(own, tokens)
        special, head_width = self.stages[stage].special_tokens, self.config.embed_dim // self.config.heads
        # Registers come first there, and behind the patches here; their angle is zero.
        rotation = tuple(a.roll(-special, 0) for a in grid_rotation(*grid, special, head_width, ROPE_BASE, tokens))
        if depth < 0 or depth % 2 == 0:
            return self.blocks[stage](tokens.flatten(0, 1), rotation).unflatten(0, tokens.shape[:2])
        everywhere = tuple(angles.repeat(tokens.shape[1], 1) for angles in rotation)
        return self.blocks[stage](tokens.flatten(1, 2), everywhere).unflatten(1, tokens.shape[1:3])

    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Tensor | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """A pointmap of every view in its camera, the camera in the world, and the pinhole that fits the pointmap best."""
        both = torch.cat([taps[stage] for stage in self.read], dim=-1)
        _, tokens = self.part(both, self.config.registers)
        with torch.autocast(both.device.type, enabled=False):
            tokens = self.norm(tokens.to(self.norm.weight.dtype))
            maps = functional.pixel_shuffle(
                self.point_head(tokens).unflatten(2, self.token_grid(*size)).movedim(-1, 2).flatten(0, 1),
                self.patch_size,
            ).unflatten(0, tokens.shape[:2])
            depth = maps[:, :, 2].exp()
            local = torch.cat([maps[:, :, :2] * depth[:, :, None], depth[:, :, None]], dim=2).movedim(2, -1)
            confidence = 1 + maps[:, :, 3].exp()
            to_world = self._poses(self.camera_head(tokens.mean(2)))
            cameras = Cameras(torch.linalg.inv(to_world), self._pinholes(local, confidence))
            turned = local @ to_world[:, :, None, :3, :3].transpose(-1, -2)
            points = turned + to_world[:, :, None, None, :3, 3]
        return Reconstruction(cameras, depth, confidence, points, confidence)

    def drop(self, stage: int) -> None:
        """Registers, too, where they are among the tokens already."""
        super().drop(stage)
        if stage >= self.config.encoder_depth:
            self.registers = None

    @staticmethod
    def _poses(raw: Tensor) -> Tensor:
        """Camera to world [batch, views, 4, 4]; two columns of the rotation made orthonormal, the third is their product."""
        first = functional.normalize(raw[..., :3], dim=-1)
        second = functional.normalize(raw[..., 3:6] - (raw[..., 3:6] * first).sum(-1, keepdim=True) * first, dim=-1)
        columns = [first, second, torch.linalg.cross(first, second), raw[..., 6:]]
        top = torch.stack(columns, dim=-1)
        bottom = torch.eye(4, dtype=raw.dtype, device=raw.device)[3]
        return torch.cat([top, bottom.expand(*top.shape[:-2], 1, 4)], dim=-2)

    @staticmethod
    def _pinholes(local: Tensor, confidence: Tensor) -> Tensor:
        """Intrinsics [batch, views, 3, 3] with the principal point at the center, without gradient."""
        with torch.no_grad():
            focal = focal_from_pointmap(local.flatten(0, 1), confidence.flatten(0, 1)).unflatten(0, local.shape[:2])
        height, width = local.shape[2:4]
        intrinsics = torch.zeros(*local.shape[:2], 3, 3, dtype=local.dtype, device=local.device)
        intrinsics[..., 0, 0] = intrinsics[..., 1, 1] = focal
        intrinsics[..., 0, 2], intrinsics[..., 1, 2], intrinsics[..., 2, 2] = width / 2, height / 2, 1.0
        return intrinsics
