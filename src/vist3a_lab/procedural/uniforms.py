"""Random numbers of a scene: one block of uniforms that depends on the seed and the scene's index only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

SCENE_STREAM: Final = 0
CAPTION_STREAM: Final = 1
PROMPT_STREAM: Final = 2
UNSTEADY_STREAM: Final = 3
WORDING_STREAM: Final = 4
"""Of prompts, apart from the stream of their scenes: what a text says must not depend on what there is to say."""

Array = NDArray[np.float64]


def uniform_block(seed: int, index: int, count: int, stream: int, variant: int = 0) -> Array:
    """``count`` uniforms in [0, 1) of one scene; streams, variants, indices and seeds never overlap."""
    if seed < 0 or index < 0 or variant < 0:
        raise ValueError(f"seed, index and variant must not be negative, found {seed}, {index}, {variant}.")
    key = np.array([seed, stream], dtype=np.uint64)
    # The low counter word runs within the block, so the words that name the block are the high ones.
    counter = np.array([0, 0, variant, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter)).random(count)


def uniform_blocks(seed: int, indices: Sequence[int], count: int, stream: int) -> Array:
    """One row of ``count`` uniforms per index."""
    if len(indices) == 0:
        return np.zeros((0, count))
    return np.stack([uniform_block(seed, int(index), count, stream) for index in indices])


class UniformColumns:
    """Hands out the columns of a block in a fixed order, so that parameters never share a random number."""

    def __init__(self, block: Array) -> None:
        self._block = block
        self._next = 0

    def take(self, count: int) -> Array:
        """Next ``count`` columns, shape (rows, count)."""
        if self._next + count > self._block.shape[1]:
            raise ValueError(f"The block has {self._block.shape[1]} uniforms, {self._next + count} were asked for.")
        self._next += count
        return self._block[:, self._next - count : self._next]

    def one(self, low: float = 0.0, high: float = 1.0) -> Array:
        """Next column mapped to [low, high), shape (rows,)."""
        return low + (high - low) * self.take(1)[:, 0]

    def many(self, count: int, low: float, high: float) -> Array:
        """Next columns mapped to [low, high), shape (rows, count)."""
        return low + (high - low) * self.take(count)

    def choice(self, probabilities: Sequence[float], count: int = 1) -> NDArray[np.int64]:
        """Indices drawn with the given probabilities, shape (rows, count)."""
        edges = np.cumsum(np.asarray(probabilities, dtype=np.float64))
        # Rounding of the sum must not leave a gap below 1.
        edges[-1] = 1.0
        return np.searchsorted(edges, self.take(count), side="right").astype(np.int64)


def pick(table: Sequence[float] | Sequence[Sequence[float]], index: NDArray[np.int64]) -> Array:
    """Rows of a table of numbers."""
    return np.asarray(table, dtype=np.float64)[index]
