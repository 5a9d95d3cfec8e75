"""What a served generator is asked: a table with the columns ``prompt`` and, optionally, ``seed``, read without guessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

PROMPT, SEED = "prompt", "seed"
COLUMNS = f"allowed: a table with the column {PROMPT} (text) and, optionally, {SEED} (integer)"
SEED_BITS = 63
EXACT_FLOAT = 2**53
"""Below this every integer is a floating-point number of its own."""


@dataclass(frozen=True)
class Request:
    """One scene that is asked for; ``seed`` None is the model's own."""

    prompt: str
    seed: int | None


def read_requests(data: Any) -> list[Request]:
    """Rows of a table (or of a mapping by column, or one row as a mapping); ValueError naming row, column and what is allowed."""
    import pandas as pd

    if isinstance(data, Mapping):
        data = pd.DataFrame({key: [value] if isinstance(value, str | Real) else value for key, value in data.items()})
    if not isinstance(data, pd.DataFrame):
        raise ValueError(f"the request is a {type(data).__name__}; {COLUMNS}")
    if unknown := [str(name) for name in data.columns if name not in (PROMPT, SEED)]:
        raise ValueError(f"unknown column {', '.join(unknown)}; {COLUMNS}")
    if PROMPT not in data or data.empty:
        raise ValueError(f"the request has no {PROMPT}; {COLUMNS}")
    seeds = list(data[SEED]) if SEED in data else [None] * len(data)
    return [
        Request(_prompt(prompt, row), _seed(seed, row))
        for row, (prompt, seed) in enumerate(zip(data[PROMPT], seeds, strict=True))
    ]


def _prompt(value: Any, row: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"row {row}: prompt {value!r} is no text; {COLUMNS}")
    return value


def _seed(value: Any, row: int) -> int | None:
    # A column with gaps comes as floating-point numbers, a gap as NaN.
    if value is None or value != value:  # noqa: PLR0124
        return None
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if isinstance(value, Real) and not isinstance(value, Integral):
        whole = float(value).is_integer() and abs(float(value)) < EXACT_FLOAT
    if not whole or not -(2**SEED_BITS) <= int(value) < 2**SEED_BITS:
        raise ValueError(f"row {row}: seed {value!r}; allowed: an integer of 64 bits, or null for the model's own seed")
    return int(value)
