"""Parameters that are a number, or a range that every step draws from."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator


def _checked(name: str, value: Any, kind: str, whole: bool) -> Any:
    """The number, or the range as a pair; ValueError in one sentence."""
    ends = value if isinstance(value, list | tuple) else [value]
    types = int if whole else int | float
    numbers = all(isinstance(end, types) and not isinstance(end, bool) and 1 <= end < math.inf for end in ends)
    if not numbers or (value is ends and (len(ends) != 2 or ends[0] > ends[1])):
        raise ValueError(
            f"align.{name}: {value!r}; allowed: {kind} from 1 on, or a range [low, high] of two such numbers"
        )
    return tuple(ends) if value is ends else value


def _steps(value: Any) -> Any:
    return _checked("denoising_steps", value, "a whole number", whole=True)


def _guidance(value: Any) -> Any:
    return _checked("guidance", value, "a number", whole=False)


Steps = Annotated[int | tuple[int, int], BeforeValidator(_steps)]
Guidance = Annotated[float | tuple[float, float], BeforeValidator(_guidance)]
