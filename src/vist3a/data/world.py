"""The contract of a generated world: scenes whose geometry is known exactly, and prompts about such scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from vist3a.records import ExactScenes


@runtime_checkable
class World(Protocol):
    """Numbered scenes and prompts; scene i of a seed never depends on which others are asked for."""

    def scenes(
        self,
        seed: int,
        numbers: Sequence[int],
        size: tuple[int, int],
        views: int,
        extra_views: int = 0,
        device: torch.device | str = "cpu",
    ) -> ExactScenes:
        """Scenes of a seed, seen in ``views`` frames of ``size`` (height, width) and in ``extra_views`` held-out views."""
        ...

    def prompts(self, seed: int, count: int) -> list[str]:
        """Texts about scenes that no clip of the world shows; text i depends on (seed, i) only."""
        ...


def unseen_prompts(world: World, seed: int, count: int, seen: set[str]) -> list[str]:
    """As many prompts of ``seed`` as there are among the first 2 ``count``, at most ``count``, without those in ``seen``."""
    return [text for text in world.prompts(seed, 2 * count) if text not in seen][:count]
