"""Nested values as flat names, within the limits of a tracking store."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_NAME = 250
_FORBIDDEN = re.compile(r"[^0-9A-Za-z_\-. :/]")


def safe_name(name: str) -> str:
    """``name`` with the characters a metric may have, and no longer than the store takes."""
    return _FORBIDDEN.sub("_", name)[:MAX_NAME]


def flatten_parameters(value: Any, prefix: str) -> dict[str, str]:
    """Leaves of a (typed) parameter group by dotted name. Lists stay whole: their items have no names of their own."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping) and value:
        flat: dict[str, str] = {}
        for key, item in value.items():
            flat |= flatten_parameters(item, f"{prefix}.{key}")
        return flat
    # An empty mapping is a leaf, too: that nothing was given is worth knowing.
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return {safe_name(prefix): text}


def flatten_metrics(value: Any, prefix: str) -> dict[str, float]:
    """Finite numbers of a nested report by slash-joined name; list items are numbered, texts are left out."""
    return {safe_name(name): number for name, number in _numbers(value, prefix)}


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{name}/{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        # Leading zeros, so that items sort as they are numbered.
        width = len(str(max(len(value) - 1, 0)))
        for index, item in enumerate(value):
            yield from _numbers(item, f"{name}/{index:0{width}d}")
    elif isinstance(value, int | float) and math.isfinite(value):
        yield name, float(value)


def cut(text: str, limit: int) -> str:
    """``text``, or its beginning and a note of how much is missing."""
    if len(text) <= limit:
        return text
    note = f" ... ({len(text)} characters in all)"
    return text[: limit - len(note)] + note
