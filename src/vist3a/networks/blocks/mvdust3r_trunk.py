"""Trunk of MV-DUSt3R, run as a list of stages so that it can stop and be entered anywhere.

Stages, in order: ``encoder.KK``, ``encoder.norm``, ``decoder.embed`` and ``decoder.layer.KK``. There are no special tokens,
positions are rotary and re-made from the grid, and heads read the last layer only: every stage is a complete entry.

With several references (MV-DUSt3R+) the decoder runs one path per reference. All paths of a view travel side by side
on the channels: the state of a decoder layer is ``references * decoder_dim`` wide, path 0 first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vist3a.networks.blocks.enterable import EnterableNetwork
from vist3a.networks.blocks.mvdust3r_config import MVDust3rConfig
from vist3a.networks.blocks.mvdust3r_decoder import NORM_EPS, DecoderBlock, slot_order
from vist3a.networks.blocks.rope import Rotation, grid_rotation
from vist3a.networks.blocks.transformer import Block
from vist3a.networks.blocks.vit import PatchProjection
from vist3a.records import Reconstruction, StitchPoint, TokenState


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
        self.stages = (
            *(f"encoder.{k:02d}" for k in range(config.encoder_depth)),
            "encoder.norm",
            "decoder.embed",
            *(f"decoder.layer.{k:02d}" for k in range(config.decoder_depth)),
        )

    @property
    def stitch_points(self) -> tuple[StitchPoint, ...]:
        """Every stage; those of the decoder count as ``aggregator``."""
        config = self.config
        widths = [config.embed_dim] * (config.encoder_depth + 1) + [config.decoder_dim]
        widths += [config.references * config.decoder_dim] * config.decoder_depth
        return tuple(
            StitchPoint(name, "encoder" if name.startswith("encoder") else "aggregator", width, 0, complete=True)
            for name, width in zip(self.stages, widths, strict=True)
        )

    def trunk(
        self, frames: Float[Tensor, "batch views 3 height width"], keep: Sequence[str] = ()
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """The last decoder layer under its number, all paths side by side, and the states at the points ``keep``."""
        return self._run_frames(frames, keep, len(self.stages) - 1)

    def run_from(
        self, state: TokenState, size: tuple[int, int], keep: Sequence[str] = (), until: str | None = None
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """As :meth:`trunk`, continuing behind ``state.point`` up to ``until`` for frames of ``size`` (height, width)."""
        self._stages(keep)
        last = len(self.stages) - 1 if until is None else self._stages([until])[0]
        stage = self._stages([state.point])[0]
        self._require_entry(stage)
        grid = self.token_grid(*size)
        tokens, _ = self._check(state, grid, {}, self.dec_norm.weight.dtype)
        return self._run(tokens, grid, stage, last, keep)

    @abstractmethod
    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction from the last decoder layer for frames of ``size`` (height, width)."""

    def tokens_at(
        self, points: Sequence[str], frames: Float[Tensor, "batch views 3 height width"]
    ) -> dict[str, TokenState]:
        """States at the named points for RGB frames in [0, 1]; nothing behind the last of them is run."""
        stages = self._stages(points)
        return self._run_frames(frames, points, max(stages))[1] if stages else {}

    def reconstruct(
        self, frames: Float[Tensor, "batch views 3 height width"], with_gaussians: bool = True
    ) -> Reconstruction:
        """The whole network on RGB frames in [0, 1]; ``with_gaussians`` false skips the Gaussian head."""
        taps, _ = self.trunk(frames)
        return self.heads(taps, self.frame_size(*frames.shape[-2:]), frames, with_gaussians)

    def forward(
        self, frames: Float[Tensor, "batch views 3 height width"], with_gaussians: bool = True
    ) -> Reconstruction:
        """Same as :meth:`reconstruct`, so that wrappers that hook the call of a module work."""
        return self.reconstruct(frames, with_gaussians)

    def reconstruct_from(
        self,
        state: TokenState,
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """The rest of the network behind ``state.point`` (exact entry) for frames of ``size`` (height, width)."""
        if rgb is None:
            raise ValueError(f"the pointmap head of {type(self).__name__} reads the image: pass rgb")
        taps, _ = self.run_from(state, size)
        return self.heads(taps, size, rgb, with_gaussians)

    def drop_before(self, point: str) -> None:
        """Delete the parameters that nothing behind ``point`` uses; keys of the remaining ones do not change."""
        stage = self._stages([point])[0]
        self._require_entry(stage)
        depth = self.config.encoder_depth
        once = {"patch_embed": 0, "enc_norm": depth, "decoder_embed": depth + 1}
        for name in (name for name, needed in once.items() if stage >= needed):
            setattr(self, name, None)
        for block in range(min(stage + 1, depth)):
            self.enc_blocks[block] = nn.Identity()
        for blocks in (self.dec_blocks, self.dec_blocks2, self.dec_same_view_blocks):
            for layer in range(min(stage - depth - 1, len(blocks))):
                blocks[layer] = nn.Identity()
        self.entry = point

    def _run_frames(
        self, frames: Tensor, keep: Sequence[str], last: int
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        self._stages(keep)
        frames = self.fit(frames)
        grid = self.token_grid(frames.shape[-2], frames.shape[-1])
        self._require_entry(-1)
        images = (2 * frames - 1).to(self.patch_embed.proj.weight.dtype)
        tokens = self.patch_embed(images.flatten(0, 1)).flatten(1, 2).unflatten(0, frames.shape[:2])
        tokens = tokens.to(self.enc_norm.weight.dtype)
        return self._run(tokens, grid, -1, last, keep)

    def _run(
        self, x: Tensor, grid: tuple[int, int], first: int, last: int, keep: Sequence[str]
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        config = self.config
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
            if stage >= 0 and self.stages[stage] in keep:
                special = x.new_zeros(*x.shape[:2], 0, x.shape[3])
                states[self.stages[stage]] = TokenState(self.stages[stage], x.unflatten(2, grid), special)
        return {last - config.encoder_depth - 2: x}, states

    def _advance(self, stage: int, x: Tensor, encoder: Rotation, decoder: Rotation) -> Tensor:
        depth = self.config.encoder_depth
        if stage < depth:
            return self._recomputed(self.enc_blocks[stage], x.flatten(0, 1), encoder).unflatten(0, x.shape[:2])
        if stage == depth:
            return self.enc_norm(x)
        if stage == depth + 1:
            return self.decoder_embed(x.to(self.decoder_embed.weight.dtype)).to(x.dtype)
        layer = stage - depth - 2
        if layer == 0:
            x = x.repeat(1, 1, 1, self.config.references)
        return self._recomputed(lambda tokens, rotation: self._decode(layer, tokens, rotation), x, decoder)

    def _recomputed(self, function: Callable[[Tensor, Rotation], Tensor], x: Tensor, rotation: Rotation) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            result: Tensor = checkpoint(function, x, rotation, use_reentrant=False)
            return result
        return function(x, rotation)

    def _decode(self, layer: int, x: Tensor, rotation: Rotation) -> Tensor:
        """One decoder layer on ``[batch, views, tokens, references * width]``."""
        batch, views = x.shape[:2]
        references = self.config.references
        paths = x.unflatten(3, (references, -1)).permute(0, 3, 1, 2, 4)
        slots = slot_order(references, views, x.device)
        path = torch.arange(references, device=x.device)[:, None]
        ordered = paths[:, path, slots].flatten(0, 1)
        parts = [self.dec_blocks[layer](ordered, slice(0, 1), rotation)]
        if views > 1:
            parts.append(self.dec_blocks2[layer](ordered, slice(1, None), rotation))
        # The order swaps two views, so that it is its own inverse.
        paths = torch.cat(parts, dim=1).unflatten(0, (batch, references))[:, path, slots]
        by_view = paths.transpose(1, 2)
        if references > 1:
            by_view = self.dec_same_view_blocks[layer](by_view.flatten(0, 1), slice(None), rotation)
            by_view = by_view.unflatten(0, (batch, views))
        return by_view.transpose(2, 3).flatten(3)
