"""What the networks of the VGGT family share: trunk, entry points, checkpoints. Subclasses add heads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.networks.blocks.alternating import Aggregator
from vist3a.networks.blocks.config import TrunkConfig
from vist3a.networks.blocks.dpt_head import recompute_heads
from vist3a.networks.blocks.enterable import EnterableNetwork
from vist3a.records import Reconstruction, StitchPoint, TokenState

ConfigT = TypeVar("ConfigT", bound=TrunkConfig)


class StitchableNetwork(EnterableNetwork[ConfigT]):
    """A trunk that can be stopped at and entered behind any block, followed by heads on its taps.

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

    @property
    def stitch_points(self) -> tuple[StitchPoint, ...]:
        """Encoder blocks, encoder norm, then frame and global block of every aggregator depth."""
        return self.aggregator.points

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks of the trunk and dense heads are recomputed in the backward pass instead of stored."""
        return self.aggregator.gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        self.aggregator.gradient_checkpointing = value
        recompute_heads(self, value)

    def trunk(
        self, frames: Float[Tensor, "batch views 3 height width"], keep: Sequence[str] = ()
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """Taps of all depths that heads read (see ``Aggregator``) and the states at the points ``keep``."""
        return self._run_frames(frames, keep, len(self.aggregator.stages) - 1)

    def run_from(
        self, state: TokenState, size: tuple[int, int], keep: Sequence[str] = (), until: str | None = None
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        """As :meth:`trunk`, continuing behind ``state.point`` up to ``until`` for frames of ``size`` (height, width)."""
        self._stages(keep)
        last = len(self.aggregator.stages) - 1 if until is None else self._stages([until])[0]
        stage = self._stages([state.point])[0]
        self._require_entry(stage)
        dtype = self._entry_dtype(stage, state.patch_tokens.dtype)
        tokens, taps = self._check(state, self.token_grid(*size), self.aggregator.required_taps(stage), dtype)
        grid = (state.patch_tokens.shape[2], state.patch_tokens.shape[3])
        return self.aggregator.run(tokens, grid, stage, last, taps, keep)

    @abstractmethod
    def heads(
        self,
        taps: Mapping[int, Tensor],
        size: tuple[int, int],
        rgb: Float[Tensor, "batch views 3 height width"] | None = None,
        with_gaussians: bool = True,
    ) -> Reconstruction:
        """Reconstruction from the taps for frames of ``size`` (height, width)."""

    def tokens_at(
        self, points: Sequence[str], frames: Float[Tensor, "batch views 3 height width"]
    ) -> dict[str, TokenState]:
        """States at the named points for RGB frames in [0, 1]; nothing behind the last of them is run."""
        stages = self._stages(points)
        return self._run_frames(frames, points, max(stages))[1] if stages else {}

    def reconstruct(
        self, frames: Float[Tensor, "batch views 3 height width"], with_gaussians: bool = True
    ) -> Reconstruction:
        """The whole network on RGB frames in [0, 1]; ``with_gaussians`` false skips a Gaussian head."""
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
        self._require_rgb(rgb, with_gaussians)
        taps, _ = self.run_from(state, size)
        return self.heads(taps, size, rgb, with_gaussians)

    def drop_before(self, point: str, keep_embedding: bool = False) -> None:
        """Delete the parameters that nothing behind ``point`` uses; keys of the remaining ones do not change.

        ``keep_embedding`` keeps the encoder's class token, registers and position table (see ``Aggregator``).
        """
        stage = self._stages([point])[0]
        self._require_entry(stage)
        self.aggregator.drop_before(stage, keep_embedding)
        self.entry = point

    def _entry_options(self) -> dict[str, Any]:
        if self.entry is None:
            return {}
        encoder = self.aggregator.patch_embed
        return {"keep_embedding": encoder is not None and encoder.cls_token is not None}

    def _run_frames(
        self, frames: Tensor, keep: Sequence[str], last: int
    ) -> tuple[dict[int, Tensor], dict[str, TokenState]]:
        self._stages(keep)
        frames = self.fit(frames)
        grid = self.token_grid(frames.shape[-2], frames.shape[-1])
        self._require_entry(-1)
        # Nested, so that embedded images are not kept while the blocks run.
        return self.aggregator.run(self.aggregator.embed(frames), grid, -1, last, keep=keep)

    def _entry_dtype(self, stage: int, fallback: torch.dtype) -> torch.dtype:
        # Behind the last block nothing of the trunk is left to say in which dtype it would have computed.
        if stage == len(self.aggregator.stages) - 1:
            return fallback
        return self.aggregator.global_blocks[-1].get_parameter("norm1.weight").dtype
