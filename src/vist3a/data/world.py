"""The contract of a generated world: scenes whose geometry is known exactly, and prompts about such scenes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

import torch

from vist3a.records import ExactScenes

MOST_DRAWN = 64
"""Prompts that are looked at for each that is wanted, before the search is given up."""


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


@runtime_checkable
class NamesKinds(Protocol):
    """What a world may do beside: name the kinds of its prompts, by which figures are then reported."""

    def kinds(self, prompt: str) -> tuple[str, ...]:
        """Every kind that a text is of, each once; none where the world does not understand it."""
        ...


def prompt_kinds(world: World, prompts: Sequence[str]) -> list[tuple[str, ...]] | None:
    """The kinds of every prompt; None where the world names no kinds.

    Example:
        >>> prompt_kinds(world, ["a red ball"])
        [('objects: 1', 'shape: sphere', 'color: red')]
    """
    return [world.kinds(prompt) for prompt in prompts] if isinstance(world, NamesKinds) else None


def unseen_prompts(world: World, seed: int, count: int, seen: Collection[str]) -> list[str]:
    """The first ``count`` prompts of ``seed`` that are not among ``seen``.

    Raises:
        ValueError: Of 64 times as many there are too few.

    Example:
        >>> unseen_prompts(world, seed=77001, count=2, seen=world.prompts(0, 256))
        ['a small red ball on grass', 'two blue cubes on sand at dusk']
    """
    passed = frozenset(seen)
    # Twice as many are mostly enough; a text that the world says again and again may be in ``seen`` many times.
    drawn = 2 * count
    while len(found := [text for text in world.prompts(seed, drawn) if text not in passed][:count]) < count:
        if drawn >= MOST_DRAWN * count:
            raise ValueError(
                f"of {drawn} prompts of seed {seed} only {len(found)} were not trained on; {count} are wanted: ask for fewer, "
                "take another seed, or train on fewer"
            )
        drawn *= 2
    return found
