"""Encoder plus alternating attention, run as a list of stages so that it can stop and be entered anywhere.

Stages, in order: ``encoder.KK`` (output of encoder block KK), ``encoder.norm`` (final norm, patches only), then
``aggregator.frame.KK`` and ``aggregator.global.KK`` for every depth.

A *tap* is what heads read of an aggregator depth: the frame and the global output side by side,
``[batch, views, special + patches, 2 * width]``. The state of a stage holds the taps that were produced before it and
that its own tokens do not contain: whole taps of the depths passed, and at ``aggregator.global.KK`` of a tapped depth
the frame half only (width, not twice the width), because the global half is the state's own tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vist3a.networks.blocks.config import TrunkConfig
from vist3a.networks.blocks.rope import Rotation, grid_rotation
from vist3a.networks.blocks.transformer import Block
from vist3a.networks.blocks.vit import VisionTransformer
from vist3a.records import StitchPoint, TokenState

IN_TURN = 4
"""Encoder blocks that are compiled together: of the 23 joints between 24 blocks 18 lie within; groups share what is compiled."""


class Aggregator(nn.Module):
    """The trunk: tokens of each frame from the encoder, then attention within frames and across all frames in turn."""

    patch_embed: VisionTransformer
    camera_token: nn.Parameter
    register_token: nn.Parameter

    def __init__(self, config: TrunkConfig) -> None:
        """All sizes from ``config``."""
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.patch_embed = VisionTransformer(config)
        # Index 0 of the second axis is for the first frame (the world frame), index 1 for all others.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, config.embed_dim))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_registers, config.embed_dim))
        for token in (self.camera_token, self.register_token):
            nn.init.trunc_normal_(token, std=0.02)
        self.frame_blocks, self.global_blocks = (
            nn.ModuleList(
                Block(
                    config.embed_dim,
                    config.num_heads,
                    config.mlp_ratio,
                    qk_norm=True,
                    layer_scale_init=config.aggregator_layer_scale_init,
                )
                for _ in range(config.aggregator_depth)
            )
            for _ in range(2)
        )
        # With e encoder blocks, stage e is the norm, e + 1 + 2 d the frame block and e + 2 + 2 d the global block of depth d.
        names = [f"encoder.{k:02d}" for k in range(config.encoder_depth)] + ["encoder.norm"]
        for depth in range(config.aggregator_depth):
            names += [f"aggregator.frame.{depth:02d}", f"aggregator.global.{depth:02d}"]
        self.stages = tuple(names)
        self.points = tuple(
            StitchPoint(
                name=name,
                kind="encoder" if stage <= config.encoder_depth else "aggregator",
                width=config.embed_dim,
                special_tokens=0 if stage == config.encoder_depth else config.special_tokens,
                complete=not self.required_taps(stage),
                per_view=stage <= config.encoder_depth,
            )
            for stage, name in enumerate(names)
        )
        """Description of every stage."""

    def split(self, stage: int) -> tuple[int, bool]:
        """Aggregator depth of a stage and whether it is the global one; depth -1 inside the encoder."""
        index = stage - self.config.encoder_depth - 1
        return (-1, False) if index < 0 else (index // 2, bool(index % 2))

    def required_taps(self, stage: int) -> dict[int, int]:
        """Depth -> width of the taps that a state at ``stage`` must hold."""
        depth, is_global = self.split(stage)
        width = self.config.embed_dim
        required = {tap: 2 * width for tap in self.config.kept_depths if tap < depth}
        if is_global and depth in self.config.kept_depths:
            required[depth] = width
        return required

    def embed(
        self, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views tokens channels"]:
        """Tokens entering the first encoder block, from RGB in [0, 1]."""
        embedded: Tensor = self.patch_embed(frames.flatten(0, 1))
        return embedded.unflatten(0, frames.shape[:2])

    def with_camera_tokens(
        self, patches: Float[Tensor, "batch views patches channels"]
    ) -> Float[Tensor, "batch views tokens channels"]:
        """Prepend the camera token and the aggregator's registers of each frame."""
        # Role 0 is the first frame's, 1 that of all others.
        role = torch.arange(patches.shape[1], device=patches.device).clamp(max=1)
        special = torch.cat([self.camera_token, self.register_token], dim=2)[:, role]
        return torch.cat([special.expand(patches.shape[0], -1, -1, -1).to(patches.dtype), patches], dim=2)

    def run(
        self,
        tokens: Float[Tensor, "batch views tokens channels"],
        grid: tuple[int, int],
        first: int,
        last: int,
        taps: Mapping[int, Tensor] | None = None,
        keep: Collection[str] = (),
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """Run the stages after ``first``, whose output is ``tokens`` (-1: embedded images), through ``last``.

        ``taps`` are those of the state at ``first``. Returns the taps known after ``last`` and the states of the
        stages named in ``keep``.
        """
        collected = dict(taps or {})
        states: dict[str, TokenState] = {}
        rotations: tuple[Rotation, Rotation] | None = None
        # Only the aggregator turns its queries and keys; the encoder has learned positions.
        if last > self.config.encoder_depth:
            rotations = self._rotations(grid, tokens)
        for stage, x in self._outputs(first, last, tokens, rotations):
            if self.stages[stage] in keep:
                states[self.stages[stage]] = self._state(stage, x, collected, grid)
            # The frame half waits at its depth until the global block completes the tap.
            depth, is_global = self.split(stage)
            if depth in self.config.kept_depths:
                collected[depth] = torch.cat([collected[depth].to(x.dtype), x], dim=-1) if is_global else x
        return collected, states

    def _rotations(self, grid: tuple[int, int], tokens: Tensor) -> tuple[Rotation, Rotation]:
        config = self.config
        head_width = config.embed_dim // config.num_heads
        cos, sin = grid_rotation(*grid, config.special_tokens, head_width, config.rope_base, tokens)
        # Global blocks see the views one after the other; a view's number in the sequence is no position.
        views = tokens.shape[1]
        return (cos, sin), (cos.repeat(views, 1), sin.repeat(views, 1))

    def _outputs(
        self, first: int, last: int, x: Tensor, rotations: tuple[Rotation, Rotation] | None
    ) -> Iterator[tuple[int, Tensor]]:
        """The stages from ``first``, whose output is ``x``, through ``last``, each with its output."""
        encoder, frames = self.config.encoder_depth, x.shape[:2]
        # The entered stage counts as run, as it may be kept or tapped.
        if first >= 0:
            yield first, x
        for start in range(first + 1, min(last + 1, encoder), IN_TURN):
            group = range(start, min(start + IN_TURN, last + 1, encoder))
            for stage, output in zip(group, self._encoder_blocks(group, x.flatten(0, 1)), strict=True):
                x = output.unflatten(0, frames)
                yield stage, x
        for stage in range(max(first + 1, encoder), last + 1):
            x = self._advance(stage, x, rotations)
            yield stage, x

    def _encoder_blocks(self, group: range, x: Tensor) -> list[Tensor]:
        blocks = [self.patch_embed.blocks[stage] for stage in group]
        if not torch.is_grad_enabled():
            together: list[Tensor] = self.patch_embed.in_turn(x, blocks)
            return together
        # For training each by itself, as each may have to be computed again.
        outputs = []
        for block in blocks:
            x = self._block(block, x)
            outputs.append(x)
        return outputs

    def _advance(self, stage: int, x: Tensor, rotations: tuple[Rotation, Rotation] | None) -> Tensor:
        batch, views = x.shape[:2]
        encoder = self.config.encoder_depth
        # The aggregator goes on with patches: class token and registers of the encoder end here.
        if stage == encoder:
            return self.patch_embed.norm(x)[:, :, self.config.special_tokens :]
        if stage == encoder + 1:
            x = self.with_camera_tokens(x)
        depth, is_global = self.split(stage)
        assert rotations is not None
        # Global blocks take a scene's views as one sequence, frame blocks each view as a sequence of its own.
        if is_global:
            return self._block(self.global_blocks[depth], x.flatten(1, 2), rotations[1]).unflatten(1, (views, -1))
        return self._block(self.frame_blocks[depth], x.flatten(0, 1), rotations[0]).unflatten(0, (batch, views))

    def _block(self, block: nn.Module, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            result: Tensor = checkpoint(block, x, rotation, use_reentrant=False)
            return result
        output: Tensor = block(x, rotation)
        return output

    def _state(self, stage: int, x: Tensor, taps: Mapping[int, Tensor], grid: tuple[int, int]) -> TokenState:
        special = 0 if stage == self.config.encoder_depth else self.config.special_tokens
        return TokenState(self.stages[stage], x[:, :, special:].unflatten(2, grid), x[:, :, :special], dict(taps))

    def drop_before(self, stage: int, keep_embedding: bool = False) -> None:
        """Delete the parameters that the stages after ``stage`` do not use; the other keys stay as they are.

        ``keep_embedding`` keeps class token, registers and position table, which exact entry does not read.
        """
        encoder = self.config.encoder_depth
        if stage >= encoder:
            setattr(self, "patch_embed", None)  # noqa: B010 - a typed assignment would have to be optional everywhere
        else:
            setattr(self.patch_embed, "patch_embed", None)  # noqa: B010
            for name in () if keep_embedding else ("cls_token", "pos_embed", "register_tokens", "mask_token"):
                setattr(self.patch_embed, name, None)
            # An identity in each place, so that the keys of the blocks behind stay as they are.
            for block in range(stage + 1):
                self.patch_embed.blocks[block] = nn.Identity()
        depth, is_global = self.split(stage)
        # Camera token and registers are read once, before the first frame block.
        if depth >= 0:
            setattr(self, "camera_token", None)  # noqa: B010
            setattr(self, "register_token", None)  # noqa: B010
        for index in range(depth + 1):
            self.frame_blocks[index] = nn.Identity()
            if is_global or index < depth:
                self.global_blocks[index] = nn.Identity()
