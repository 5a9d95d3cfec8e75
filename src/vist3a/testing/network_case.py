"""What the checks of a network look at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vist3a.networks.template import EnterableNetwork
from vist3a.records import Reconstruction, StitchPoint, TokenState
from vist3a.testing.comparing import same, tensors


@dataclass(frozen=True)
class Case:
    """One network, frames for it, and what it makes of them."""

    network: EnterableNetwork[Any]
    frames: Tensor
    tolerance: float

    @property
    def name(self) -> str:
        """How sentences call the network."""
        return type(self.network).__name__

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.frames.shape[-2], self.frames.shape[-1]

    @property
    def points(self) -> tuple[StitchPoint, ...]:
        """All stitch points."""
        return self.network.stitch_points

    @cached_property
    def whole(self) -> Reconstruction:
        """What the whole network says."""
        with torch.no_grad():
            return self.network.reconstruct(self.frames)

    @cached_property
    def states(self) -> dict[str, TokenState]:
        """The states at all stitch points."""
        return self.states_of(self.frames)

    def states_of(self, frames: Tensor) -> dict[str, TokenState]:
        """The states at all stitch points of other frames."""
        with torch.no_grad():
            return self.network.tokens_at([point.name for point in self.points], frames)

    def expect(self, found: Reconstruction, what: str, wanted: Reconstruction | None = None) -> None:
        """``found`` must be ``wanted`` (None: what the whole network says)."""
        same(tensors(found), tensors(self.whole if wanted is None else wanted), self.tolerance, f"{self.name}: {what}")


def tokens_of(state: TokenState) -> dict[str, Tensor]:
    """Patch and special tokens by name."""
    return {"patch tokens": state.patch_tokens, "special tokens": state.special_tokens}
