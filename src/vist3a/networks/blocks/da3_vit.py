"""The vision transformer of Depth Anything 3: a DINOv2 without registers whose later blocks see several views."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.networks.blocks.da3_config import DepthAnything3Config
from vist3a.networks.blocks.transformer import Block
from vist3a.networks.blocks.vit import PatchProjection


class AnyViewTransformer(nn.Module):
    """Class token and patches through pre-norm blocks; the caller runs them one by one (see ``da3_backbone``)."""

    patch_embed: PatchProjection
    cls_token: nn.Parameter
    pos_embed: nn.Parameter
    camera_token: nn.Parameter

    def __init__(self, config: DepthAnything3Config) -> None:
        """All sizes from ``config``. Block norms have epsilon 1e-6, the final norm 1e-5."""
        super().__init__()
        width, self.grid_side = config.embed_dim, config.img_size // config.patch_size
        self.patch_embed = PatchProjection(config.patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid_side**2 + 1, width))
        # Index 0 of the second axis is for the reference view, index 1 for all others.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, width))
        self.blocks = nn.ModuleList(
            Block(
                width,
                config.num_heads,
                config.mlp_ratio,
                norm_eps=1e-6,
                qk_norm=index >= config.qk_norm_start,
                layer_scale_init=config.layer_scale_init,
                gated=config.mlp == "swiglu",
            )
            for index in range(config.depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-5)
        for table in (self.cls_token, self.pos_embed, self.camera_token):
            nn.init.trunc_normal_(table, std=0.02)

    def embed(self, images: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames tokens channels"]:
        """Tokens that enter block 0, from normalised images: class token and patches with their positions."""
        patches = self.patch_embed(images.to(self.patch_embed.proj.weight.dtype))
        frames, rows, columns, _ = patches.shape
        table = self._position_table(rows, columns).to(self.pos_embed.dtype)
        first = (self.cls_token + table[:, :1]).expand(frames, -1, -1)
        return torch.cat([first, patches.flatten(1, 2) + table[:, 1:]], dim=1)

    def _position_table(self, rows: int, columns: int) -> Float[Tensor, "1 positions channels"]:
        side = self.grid_side
        if rows == columns == side:
            return self.pos_embed
        # Bicubic, not below float32. The scale factors (with an offset of 0.1) are what it samples with, not the sizes.
        table = self.pos_embed.to(torch.promote_types(self.pos_embed.dtype, torch.float32))
        grid = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        factors = ((rows + 0.1) / side, (columns + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic")
        return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def camera_tokens(self, reference: Int[Tensor, " batch"], views: int) -> Float[Tensor, "batch views channels"]:
        """The learned token of each view's role, where the cameras are not known."""
        others = torch.arange(views, device=reference.device) != reference[:, None]
        return self.camera_token[0][others.long()]

    def tap(
        self,
        local: Float[Tensor, "batch views tokens channels"],
        tokens: Float[Tensor, "batch views tokens channels"],
    ) -> Float[Tensor, "batch views tokens doubled"]:
        """What heads read of a block: output of the latest per-view block beside the block's own output.

        The patches' own half is normalised, that of the first token (for the cameras) is not.
        """
        own = torch.cat([tokens[:, :, :1], self.norm(tokens[:, :, 1:]).to(tokens.dtype)], dim=2)
        return torch.cat([local.to(tokens.dtype), own], dim=-1)

    def drop_before(self, block: int, camera_token: bool) -> None:
        """Delete what the blocks after ``block`` do not use; ``camera_token`` says whether that goes as well."""
        for name in ("patch_embed", "cls_token", "pos_embed", *(("camera_token",) if camera_token else ())):
            setattr(self, name, None)
        # An identity in each place, so that the keys of the blocks behind stay as they are.
        for index in range(block + 1):
            self.blocks[index] = nn.Identity()
