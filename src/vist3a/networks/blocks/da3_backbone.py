"""The blocks of Depth Anything 3 as a list of stages, so that the network can stop and be entered anywhere.

Stage K is the output of block K. Names: ``encoder.KK`` before the alternation starts, then ``aggregator.frame.KK`` (one view)
and ``aggregator.global.KK`` (all views of a scene), KK counting through from 0. Views stay in the order of the frames
everywhere. A *tap* is described at ``AnyViewTransformer.tap``; the state of a stage holds the taps of earlier blocks and,
at a tapped global block, the half of its own tap that its tokens do not contain (the per-view one).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vist3a.networks.blocks.da3_config import DepthAnything3Config
from vist3a.networks.blocks.da3_reference import (
    SMALLEST_CHOICE,
    ReferenceStrategy,
    choose_reference,
    reads_tokens,
)
from vist3a.networks.blocks.da3_vit import AnyViewTransformer
from vist3a.networks.blocks.rope import Rotation, grid_rotation
from vist3a.records import StitchPoint, TokenState


class Backbone(nn.Module):
    """Runs the blocks of ``pretrained`` (the name is that of the published state dicts)."""

    def __init__(self, config: DepthAnything3Config) -> None:
        """All sizes from ``config``."""
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        self.pretrained = AnyViewTransformer(config)
        self.stages = tuple(
            f"encoder.{block:02d}"
            if block < config.alt_start
            else f"aggregator.{'global' if config.is_global(block) else 'frame'}.{block:02d}"
            for block in range(config.depth)
        )

    def required_taps(self, stage: int) -> dict[int, int]:
        """Block -> width of the taps that a state at ``stage`` must hold."""
        config = self.config
        required = {tap: 2 * config.embed_dim for tap in config.taps if tap < stage}
        if stage in config.taps and config.is_global(stage):
            required[stage] = config.embed_dim
        return required

    def points(self, strategy: ReferenceStrategy) -> tuple[StitchPoint, ...]:
        """Description of every stage. The last one before the alternation may need the reference view, too."""
        return tuple(
            StitchPoint(
                name=name,
                kind="encoder" if stage < self.config.alt_start else "aggregator",
                width=self.config.embed_dim,
                special_tokens=1,
                complete=not self.required_taps(stage)
                and not (stage == self.config.alt_start - 1 and reads_tokens(strategy)),
                per_view=stage < self.config.alt_start,
            )
            for stage, name in enumerate(self.stages)
        )

    def reference_at(
        self,
        stage: int,
        tokens: Float[Tensor, "batch views tokens channels"],
        strategy: ReferenceStrategy,
        given: Int[Tensor, " batch"] | None,
    ) -> Int[Tensor, " batch"] | None:
        """Reference view of a state at ``stage`` without known cameras; ValueError where it should have been ``given``."""
        if given is not None or stage != self.config.alt_start - 1:
            return given
        if tokens.shape[1] >= SMALLEST_CHOICE and reads_tokens(strategy):
            raise ValueError(
                f"{self.stages[stage]}: the reference view was chosen before this point (strategy {strategy!r}): the state "
                "must name it (reference), or the strategy must be first or middle"
            )
        return choose_reference(tokens[:, :, 0], strategy)

    def embed(
        self, images: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views tokens channels"]:
        """Tokens entering block 0, from normalised images."""
        return self.pretrained.embed(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def run(
        self,
        tokens: Float[Tensor, "batch views tokens channels"],
        grid: tuple[int, int],
        first: int,
        last: int,
        strategy: ReferenceStrategy,
        *,
        poses: Float[Tensor, "batch views channels"] | None = None,
        reference: Int[Tensor, " batch"] | None = None,
        taps: Mapping[int, Tensor] | None = None,
        keep: Collection[str] = (),
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """Run the blocks after ``first``, whose output is ``tokens`` (-1: embedded images), through ``last``.

        ``poses`` are the camera tokens of known cameras; without them a reference view is chosen, or was
        (``reference``). ``taps`` are those of the state at ``first``. Returns the taps known after ``last`` and the
        states of the stages named in ``keep``.
        """
        config = self.config
        collected = dict(taps or {})
        states: dict[str, TokenState] = {}
        rotations = self._rotations(grid, tokens) if last >= config.rope_start else None
        # Entered at a tapped global block, the latest per-view output is the half of the tap that the state holds.
        x, local = tokens, collected.get(first, tokens)
        for block in range(first, last + 1):
            if block > first:
                # Class tokens decide, in the last block before the cameras' tokens take their place.
                if block == config.alt_start - 1 and poses is None:
                    reference = choose_reference(x[:, :, 0], strategy)
                if block == config.alt_start:
                    x = self._with_cameras(x, poses, reference)
                x = self._advance(block, x, rotations)
                if not config.is_global(block):
                    local = x
                elif block in config.taps:
                    # Half a tap, for the state of this block; the whole one follows below.
                    collected[block] = local
            if block >= 0 and self.stages[block] in keep:
                patches = x[:, :, 1:].unflatten(2, grid)
                states[self.stages[block]] = TokenState(
                    self.stages[block], patches, x[:, :, :1], dict(collected), reference
                )
            if block in config.taps:
                collected[block] = self.pretrained.tap(local, x)
        return collected, states

    def _with_cameras(self, x: Tensor, poses: Tensor | None, reference: Tensor | None) -> Tensor:
        """Overwrite the class token by what is known or assumed of each view's camera."""
        if poses is None:
            assert reference is not None
            poses = self.pretrained.camera_tokens(reference, x.shape[1])
        return torch.cat([poses[:, :, None].to(x.dtype), x[:, :, 1:]], dim=2)

    def _rotations(self, grid: tuple[int, int], tokens: Tensor) -> tuple[Rotation, Rotation]:
        """Rotations of per-view blocks, and of global blocks, where all patches have the same position (1, 1)."""
        config = self.config
        head_width = config.embed_dim // config.num_heads
        local = grid_rotation(*grid, 1, head_width, config.rope_base, tokens)
        cos, sin = (
            torch.cat([part[:1], part[1:].expand(grid[0] * grid[1], -1)]).repeat(tokens.shape[1], 1)
            for part in grid_rotation(1, 1, 1, head_width, config.rope_base, tokens)
        )
        return local, (cos, sin)

    def _advance(self, block: int, x: Tensor, rotations: tuple[Rotation, Rotation] | None) -> Tensor:
        batch, views = x.shape[:2]
        module = self.pretrained.blocks[block]
        local, across = rotations if rotations is not None and block >= self.config.rope_start else (None, None)
        if self.config.is_global(block):
            return self._block(module, x.flatten(1, 2), across).unflatten(1, (views, -1))
        return self._block(module, x.flatten(0, 1), local).unflatten(0, (batch, views))

    def _block(self, block: nn.Module, x: Tensor, rotation: Rotation | None) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            result: Tensor = checkpoint(block, x, rotation, use_reentrant=False)
            return result
        output: Tensor = block(x, rotation)
        return output
