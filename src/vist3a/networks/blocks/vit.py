"""DINOv2-style vision transformer with register tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vist3a.networks.blocks.config import TrunkConfig
from vist3a.networks.blocks.image_norm import normalise_images
from vist3a.networks.blocks.transformer import Block

ALIGNMENT = 8
"""Numbers of two bytes in 16 bytes."""


class PatchProjection(nn.Module):
    """Non-overlapping patches to tokens."""

    def __init__(self, patch_size: int, width: int) -> None:
        """Square patches of ``patch_size`` pixels to ``width`` channels."""
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, images: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames rows columns channels"]:
        """Tokens on the patch grid; pixels beyond the last whole patch are left out."""
        # Patches do not overlap: the convolution is one matrix product.
        side = self.proj.kernel_size[0]
        rows, columns = images.shape[-2] // side, images.shape[-1] // side
        whole = images[..., : rows * side, : columns * side]
        # To [frames, rows, columns, 3 * side * side], in the kernel's order: channel, row, column.
        patches = whole.unflatten(-1, (columns, side)).unflatten(-3, (rows, side)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        weight = self.proj.weight.flatten(1)
        # Tensor cores want rows of whole 16 bytes; patches of 14 pixels have 588 numbers.
        missing = -weight.shape[1] % ALIGNMENT
        if missing:
            patches, weight = F.pad(patches, (0, missing)), F.pad(weight, (0, missing))
        return F.linear(patches, weight, self.proj.bias)


class BlocksInTurn(nn.Module):
    """Runs blocks one after the other; compiled, what ends a block and begins the next becomes one kernel."""

    compiled_alone = True

    def forward(
        self, x: Float[Tensor, "frames tokens channels"], blocks: Sequence[nn.Module]
    ) -> list[Float[Tensor, "frames tokens channels"]]:
        """The output of every block."""
        outputs = []
        for block in blocks:
            x = block(x)
            outputs.append(x)
        return outputs


class VisionTransformer(nn.Module):
    """Class token, registers and patches through pre-norm blocks (norm epsilon 1e-6), no rotary positions.

    The token order is class, registers, patches. The caller runs the module itself, which embeds frames, then the ``blocks``
    and ``norm`` one by one, which is what lets it stop at or enter behind any of them; or some ``blocks`` ``in_turn``.
    """

    compiled_alone = True

    def __init__(self, config: TrunkConfig) -> None:
        """Sizes from the ``encoder_*`` fields of ``config``."""
        super().__init__()
        width, self.grid_side = config.embed_dim, config.img_size // config.patch_size
        self.patch_embed = PatchProjection(config.patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid_side**2 + 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.num_registers, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # never read: part of the published state dict
        self.blocks = nn.ModuleList(
            Block(
                width,
                config.encoder_heads,
                config.mlp_ratio,
                norm_eps=1e-6,
                layer_scale_init=config.layer_scale_init,
            )
            for _ in range(config.encoder_depth)
        )
        self.in_turn = BlocksInTurn()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        for table in (self.cls_token, self.pos_embed, self.register_tokens):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, frames: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames tokens channels"]:
        """Tokens that enter block 0, from RGB in [0, 1]."""
        return self.add_positions(self.patch_embed(normalise_images(frames).to(self.patch_embed.proj.weight.dtype)))

    def add_positions(
        self, patches: Float[Tensor, "frames rows columns channels"]
    ) -> Float[Tensor, "frames tokens channels"]:
        """Full token sequence: class token and patches with their positions, registers (no position) between."""
        frames, rows, columns, _ = patches.shape
        table = self._position_table(rows, columns).to(self.pos_embed.dtype)
        first = (self.cls_token + table[:, :1]).expand(frames, -1, -1)
        registers = self.register_tokens.expand(frames, -1, -1)
        return torch.cat([first, registers, patches.flatten(1, 2) + table[:, 1:]], dim=1)

    def _position_table(self, rows: int, columns: int) -> Float[Tensor, "1 positions channels"]:
        side = self.grid_side
        if rows == columns == side:
            return self.pos_embed
        # Bicubic with antialiasing towards a given target size; never below float32, where bicubic weights are coarse.
        table = self.pos_embed.to(torch.promote_types(self.pos_embed.dtype, torch.float32))
        grid = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
