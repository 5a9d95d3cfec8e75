"""What a served generator is asked: a table with the column ``prompt`` and, optionally, parameters, read without guessing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import isfinite
from numbers import Integral, Real
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from vist3a_app.pipelines.generate.params import GenerateParams

PROMPT, SEED = "prompt", "seed"
PARAMETERS = (
    "steps", "guidance", "frames", "height", "width", "smoothing", "max_gaussians", "min_opacity", "voxel_size",
)  # fmt: skip
"""Parameters of the group ``generate`` that a request may set, by their names there and in ``TextTo3D.generate``."""
COLUMNS = (
    f"allowed: a table with the column {PROMPT} (text) and, optionally, {SEED} (integer) "
    f"and the numbers {', '.join(PARAMETERS)}"
)
SEED_BITS = 63
EXACT_FLOAT = 2**53
"""Below this every integer is a floating-point number of its own."""


@dataclass(frozen=True)
class Request:
    """One scene that is asked for; ``seed`` None and parameters that are not among the ``changes`` are the model's own."""

    prompt: str
    seed: int | None
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """What the folder's name needs beside prompt and seed, so that scenes of other parameters are other folders."""
        if not self.changes:
            return ""
        told = json.dumps(self.changes, sort_keys=True)
        return f"_{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def read_requests(data: Any) -> list[Request]:
    """Requests in the order of their rows.

    Args:
        data: A table, a mapping by column, or one row as a mapping. Cells without a value (None, NaN) are not given.

    Raises:
        ValueError: In one sentence with row, column and what is allowed.

    Example:
        >>> read_requests({"prompt": "a red ball", "steps": 12})
        [Request(prompt='a red ball', seed=None, changes={'steps': 12})]
    """
    import pandas as pd

    if isinstance(data, Mapping):
        # One row as a mapping: scalars become columns of one cell.
        data = pd.DataFrame({key: [value] if isinstance(value, str | Real) else value for key, value in data.items()})
    if not isinstance(data, pd.DataFrame):
        raise ValueError(f"the request is a {type(data).__name__}; {COLUMNS}")
    if unknown := [str(name) for name in data.columns if name not in (PROMPT, SEED, *PARAMETERS)]:
        raise ValueError(f"unknown column {', '.join(unknown)}; {COLUMNS}")
    if PROMPT not in data or data.empty:
        raise ValueError(f"the request has no {PROMPT}; {COLUMNS}")
    columns = {str(name): list(data[name]) for name in data.columns}
    return [_request({name: cells[row] for name, cells in columns.items()}, row) for row in range(len(data))]


def _request(cells: Mapping[str, Any], row: int) -> Request:
    given = {name: value for name, value in cells.items() if not _is_gap(value)}
    changes = {name: _number(name, given[name], row) for name in PARAMETERS if name in given}
    return Request(_prompt(cells[PROMPT], row), _seed(given.get(SEED), row), changes)


def _is_gap(value: Any) -> bool:
    # A column with gaps comes as floating-point numbers, a gap as NaN.
    return value is None or (isinstance(value, Real) and bool(value != value))  # noqa: PLR0124


def _prompt(value: Any, row: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"row {row}: prompt {value!r} is no text; {COLUMNS}")
    return value


def _seed(value: Any, row: int) -> int | None:
    if value is None:
        return None
    whole = _whole(value)
    if whole is None or not -(2**SEED_BITS) <= whole < 2**SEED_BITS:
        raise ValueError(f"row {row}: seed {value!r}; allowed: an integer of 64 bits, or null for the model's own seed")
    return whole


def _number(name: str, value: Any, row: int) -> Any:
    """A value as the pipeline's own parameter of that name would be: same type, same bounds."""
    # Of whole numbers, gaps elsewhere in the column have made floating-point ones.
    plain = _whole(value) if isinstance(value, Real) else value
    plain = float(value) if plain is None and isinstance(value, Real) and not isinstance(value, bool) else plain
    said = ""
    if isinstance(plain, float) and not isfinite(plain):
        said = "allowed: a finite number"
    try:
        checked = _kind(name).validate_python(plain, strict=True)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].replace("Input should be", "allowed:", 1)
    if said:
        raise ValueError(f"row {row}: {name} {value!r}; {said}, or null for the model's own")
    return checked


def _whole(value: Any) -> int | None:
    """The integer that a number is, be it of a floating-point type; None where it is none, or cannot be told."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    if isinstance(value, Integral):
        return int(value)
    return int(float(value)) if float(value).is_integer() and abs(float(value)) < EXACT_FLOAT else None


@cache
def _kind(name: str) -> Any:  # a TypeAdapter, whose type beartype does not read
    """Type and bounds of a parameter of ``generate``."""
    about = GenerateParams.model_fields[name]
    kind: Any = about.annotation
    # Read from the parameter itself, so that a request and a run cannot have different bounds.
    bounds = tuple(about.metadata)
    return TypeAdapter(Annotated[(kind, *bounds)] if bounds else kind)
