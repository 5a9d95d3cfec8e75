"""What the networks of the VGGT family share: the trunk. Subclasses add heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vist3a.networks.blocks.alternating import Aggregator
from vist3a.networks.blocks.config import TrunkConfig
from vist3a.networks.blocks.dpt_head import recompute_heads
from vist3a.networks.template import EnterableNetwork, Grid, States, Taps

ConfigT = TypeVar("ConfigT", bound=TrunkConfig)


class StitchableNetwork(EnterableNetwork[ConfigT]):
    """Encoder blocks, encoder norm, then frame and global block of every aggregator depth, followed by heads on its taps.

    Half precision: ``mixed_precision``, or ``model.aggregator.bfloat16()`` (half the memory of tokens, coarser), or
    autocast. The heads compute in the dtype of their own weights with autocast off.
    """

    trunk_parts: ClassVar[tuple[str, ...]] = ("aggregator",)
    public_prefix: ClassVar[str] = "encoder."

    def __init__(self, config: ConfigT) -> None:
        """Build the trunk; ``config`` fixes every size."""
        super().__init__(config)
        self.patch_size = config.patch_size
        self.head_chunk = config.head_chunk
        self.aggregator = Aggregator(config)
        self.stages = self.aggregator.points

    def origin_view(self, views: int) -> int | None:
        """None: that the first camera is the world is learned."""
        return None

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks of the trunk and dense heads are recomputed in the backward pass instead of stored."""
        return self.aggregator.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        self.aggregator.gradient_checkpointing = value
        recompute_heads(self, value)

    def embed(
        self, frames: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views tokens channels"]:
        """See ``Aggregator``."""
        return self.aggregator.embed(frames)

    def required_taps(self, stage: int) -> dict[int, tuple[int, int]]:
        """See ``Aggregator``: taps are of an aggregator depth, frame and global output side by side."""
        special = self.config.special_tokens
        return {depth: (special, width) for depth, width in self.aggregator.required_taps(stage).items()}

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
        """As the template, but encoder blocks go through in groups that are compiled together."""
        # Handed over, so that embedded images are not kept while the blocks run.
        given = [tokens]
        del tokens
        return self.aggregator.run(given.pop(), grid, first, last, taps, keep)

    def drop(self, stage: int, keep_embedding: bool = False) -> None:
        """See the template; ``keep_embedding`` keeps the encoder's class token, registers and position table."""
        self.aggregator.drop_before(stage, keep_embedding)

    def entry_dtype(self, stage: int, given: torch.dtype) -> torch.dtype:
        """That of the norms of the last block, which is there for every entry but behind itself."""
        if stage == len(self.stages) - 1:
            return given
        return self.aggregator.global_blocks[-1].get_parameter("norm1.weight").dtype

    def _entry_options(self) -> dict[str, Any]:
        if self.entry is None:
            return {}
        encoder = self.aggregator.patch_embed
        # Stored, as it decides which tensors the file of weights has.
        return {"keep_embedding": encoder is not None and encoder.cls_token is not None}
