"""Trunk of MV-DUSt3R, run as a list of stages so that it can stop and be entered anywhere.

Stages, in order: ``encoder.KK``, ``encoder.norm``, ``decoder.embed`` and ``decoder.layer.KK``. There are no special tokens,
positions are rotary and re-made from the grid, and heads read the last layer only: every stage is a complete entry.

With several references (MV-DUSt3R+) the decoder runs one path per reference. All paths of a view travel side by side
on the channels: the state of a decoder layer is ``references * decoder_dim`` wide, path 0 first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vist3a.networks.blocks.mvdust3r_config import MVDust3rConfig
from vist3a.networks.blocks.mvdust3r_decoder import NORM_EPS, DecoderBlock, slot_order
from vist3a.networks.blocks.rope import Rotation, grid_rotation
from vist3a.networks.blocks.transformer import Block
from vist3a.networks.blocks.vit import PatchProjection
from vist3a.networks.template import EnterableNetwork, Grid, States, Taps
from vist3a.records import StitchPoint, TokenState


class MVDust3rTrunk(EnterableNetwork[MVDust3rConfig]):
    """Shared encoder of the views and decoder across views; the fields' names are those of the published state dicts.

    Half precision: ``mixed_precision`` or autocast; the heads compute in the dtype of their own weights with autocast
    off.
    """

    config_class: ClassVar[type[MVDust3rConfig]] = MVDust3rConfig
    trunk_parts: ClassVar[tuple[str, ...]] = (
        "patch_embed",
        "enc_blocks",
        "decoder_embed",
        "dec_blocks",
        "dec_blocks2",
        "dec_same_view_blocks",
    )
    public_prefix: ClassVar[str] = ""

    def __init__(self, config: MVDust3rConfig) -> None:
        """Build the trunk; ``config`` fixes every size."""
        super().__init__(config)
        self.patch_size = config.patch_size
        self.gradient_checkpointing = False
        """Whether trunk blocks are recomputed in the backward pass instead of stored."""
        width = config.embed_dim
        self.patch_embed = PatchProjection(config.patch_size, width)
        self.enc_blocks = nn.ModuleList(
            Block(width, config.encoder_heads, config.mlp_ratio, norm_eps=NORM_EPS, layer_scale_init=None)
            for _ in range(config.encoder_depth)
        )
        self.enc_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.decoder_embed = nn.Linear(width, config.decoder_dim)
        # For the reference view of a path, for its other views, and for the paths of one view.
        self.dec_blocks, self.dec_blocks2, self.dec_same_view_blocks = (
            nn.ModuleList(
                DecoderBlock(config.decoder_dim, config.decoder_heads, config.mlp_ratio)
                for _ in range(config.decoder_depth if needed else 0)
            )
            for needed in (True, True, config.references > 1)
        )
        self.dec_norm = nn.LayerNorm(config.decoder_dim, eps=NORM_EPS)
        encoder, decoder, width = config.encoder_depth, config.decoder_depth, config.embed_dim
        # Those of the decoder count as aggregator, as they do in other networks.
        self.stages = (
            *(StitchPoint(f"encoder.{k:02d}", "encoder", width, 0, per_view=True) for k in range(encoder)),
            StitchPoint("encoder.norm", "encoder", width, 0, per_view=True),
            StitchPoint("decoder.embed", "aggregator", config.decoder_dim, 0, per_view=True),
            *(
                StitchPoint(f"decoder.layer.{k:02d}", "aggregator", config.references * config.decoder_dim, 0)
                for k in range(decoder)
            ),
        )

    def fixed_views(self, views: int) -> tuple[int, ...]:
        """The reference views of all paths."""
        return tuple(range(min(views, self.config.references)))

    def embed(
        self, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views tokens channels"]:
        """Patches alone."""
        # DUSt3R takes images in [-1, 1].
        images = (2 * frames - 1).to(self.patch_embed.proj.weight.dtype)
        tokens = self.patch_embed(images.flatten(0, 1)).flatten(1, 2).unflatten(0, frames.shape[:2])
        # The stream goes on in the type of the norms, which may be wider than the matrices.
        return tokens.to(self.enc_norm.weight.dtype)

    def entry_dtype(self, stage: int, given: torch.dtype) -> torch.dtype:
        """That of the final norm."""
        return self.dec_norm.weight.dtype

    def drop(self, stage: int) -> None:
        """See the template."""
        depth = self.config.encoder_depth
        # What runs once, with the first stage whose output no longer needs it.
        once = {"patch_embed": 0, "enc_norm": depth, "decoder_embed": depth + 1}
        for name in (name for name, needed in once.items() if stage >= needed):
            setattr(self, name, None)
        for block in range(min(stage + 1, depth)):
            self.enc_blocks[block] = nn.Identity()
        # Layer k is stage depth + 2 + k.
        for blocks in (self.dec_blocks, self.dec_blocks2, self.dec_same_view_blocks):
            for layer in range(min(stage - depth - 1, len(blocks))):
                blocks[layer] = nn.Identity()

    def run(
        self,
        tokens: Float[Tensor, "batch views tokens channels"],
        grid: Grid,
        first: int,
        last: int,
        taps: Mapping[int, Tensor],
        keep: Sequence[str],
        reference: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Taps, States]:
        """As the template, with rotations made once; the only tap is the last decoder layer, all paths side by side."""
        config, x = self.config, tokens
        # One name for them, so that embedded images are not kept while the blocks run.
        del tokens
        if last > config.encoder_depth + 1 and x.shape[1] < config.references:
            raise ValueError(
                f"{x.shape[1]} views; this network has {config.references} reference views and needs as many"
            )
        encoder, decoder = (
            grid_rotation(*grid, 0, width // heads, config.rope_base, x)
            for width, heads in ((config.embed_dim, config.encoder_heads), (config.decoder_dim, config.decoder_heads))
        )
        states: dict[str, TokenState] = {}
        for stage in range(first, last + 1):
            if stage > first:
                x = self._advance(stage, x, encoder, decoder)
            if stage >= 0 and (name := self.stages[stage].name) in keep:
                # No special tokens, which the record holds as an empty axis.
                special = x.new_zeros(*x.shape[:2], 0, x.shape[3])
                states[name] = TokenState(name, x.unflatten(2, grid), special)
        # A run that stops inside the encoder gives a negative depth, which no head reads.
        return {last - config.encoder_depth - 2: x}, states

    def _advance(self, stage: int, x: Tensor, encoder: Rotation, decoder: Rotation) -> Tensor:
        depth = self.config.encoder_depth
        if stage < depth:
            return self._checkpointed(self.enc_blocks[stage], x.flatten(0, 1), encoder).unflatten(0, x.shape[:2])
        if stage == depth:
            return self.enc_norm(x)
        if stage == depth + 1:
            return self.decoder_embed(x.to(self.decoder_embed.weight.dtype)).to(x.dtype)
        layer = stage - depth - 2
        # All paths start from the same embedding.
        if layer == 0:
            x = x.repeat(1, 1, 1, self.config.references)
        return self._checkpointed(lambda tokens, rotation: self._decode(layer, tokens, rotation), x, decoder)

    def _checkpointed(self, function: Callable[[Tensor, Rotation], Tensor], x: Tensor, rotation: Rotation) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            result: Tensor = checkpoint(function, x, rotation, use_reentrant=False)
            return result
        return function(x, rotation)

    def _decode(self, layer: int, x: Tensor, rotation: Rotation) -> Tensor:
        """One decoder layer on ``[batch, views, tokens, references * width]``."""
        batch, views = x.shape[:2]
        references = self.config.references
        # To [batch, references, views, tokens, width], then the reference of every path into slot 0.
        paths = x.unflatten(3, (references, -1)).permute(0, 3, 1, 2, 4)
        slots = slot_order(references, views, x.device)
        path = torch.arange(references, device=x.device)[:, None]
        ordered = paths[:, path, slots].flatten(0, 1)
        # The reference view has blocks of its own; both kinds attend to the views as they came in.
        parts = [self.dec_blocks[layer](ordered, slice(0, 1), rotation)]
        if views > 1:
            parts.append(self.dec_blocks2[layer](ordered, slice(1, None), rotation))
        # The order swaps two views, so that it is its own inverse.
        paths = torch.cat(parts, dim=1).unflatten(0, (batch, references))[:, path, slots]
        by_view = paths.transpose(1, 2)
        # MV-DUSt3R+: the paths of one view exchange what they know.
        if references > 1:
            by_view = self.dec_same_view_blocks[layer](by_view.flatten(0, 1), slice(None), rotation)
            by_view = by_view.unflatten(0, (batch, views))
        return by_view.transpose(2, 3).flatten(3)
