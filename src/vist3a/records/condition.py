"""What a denoiser is told besides the noisy latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """Named tensors with one row per sample: embeddings of a text or an image, masks, pooled vectors.

    The names are those of the generator that made it; nobody else looks inside.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        rows = {name: len(tensor) for name, tensor in self.tensors.items()}
        if len(set(rows.values())) != 1:
            raise ValueError(f"a condition needs tensors of one number of rows; found {rows}")

    def __len__(self) -> int:
        """Number of samples."""
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def rows(self, count: int) -> Condition:
        """The one row of this condition for ``count`` samples, or itself where it has as many."""
        if len(self) == count:
            return self
        if len(self) != 1:
            raise ValueError(f"a condition of {len(self)} samples cannot serve {count}")
        # Views of the one row: repeats take no memory.
        return Condition({name: t.expand(count, *t.shape[1:]) for name, t in self.tensors.items()})

    def split(self) -> list[Condition]:
        """One condition per sample."""
        return [Condition({name: t[i : i + 1] for name, t in self.tensors.items()}) for i in range(len(self))]

    def to(self, device: torch.device | str) -> Condition:
        """The same on another device."""
        return Condition({name: t.to(device) for name, t in self.tensors.items()})

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """All samples of ``parts`` in their order; ValueError when they are of different kinds."""
        names = parts[0].tensors.keys()
        if any(part.tensors.keys() != names for part in parts):
            raise ValueError("conditions of different generators cannot be joined")
        return Condition({name: torch.cat([part[name] for part in parts]) for name in names})


Embed = Callable[[Sequence[str]], Condition]
"""Conditions of prompts, e.g. ``VideoGenerator.embed``, or stored ones."""
Ask = Callable[[Sequence[str], Sequence[int]], Condition]
"""Conditions of prompts of rollouts, from the prompts and their places among all prompts of the run."""
