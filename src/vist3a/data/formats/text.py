"""Camera files as text: any of the usual encodings, and numbers that are nothing but numbers."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vist3a.data.rejected import RejectedError

LONGEST_NAME = 120
"""Characters of a name that a sentence shows."""
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def shown(name: object) -> str:
    """A name from a file as it stands in a sentence: one line, printable, cut where it is long."""
    text = str(name).encode("unicode_escape", "backslashreplace").decode() if not str(name).isprintable() else str(name)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def read_text(path: Path) -> str:
    """Text in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises:
        RejectedError: It is missing, or something else.
    """
    try:
        content = path.read_bytes()
        return content.decode(_encoding(content))
    except (OSError, UnicodeError) as error:
        raise RejectedError(f"{path.name} is missing or no text in UTF-8") from error


def read_head(path: Path, size: int) -> str:
    """The first ``size`` bytes of what may be a text of any length, with signs of replacement where it is none; or OSError."""
    with path.open("rb") as opened:
        content = opened.read(size)
    return content.decode(_encoding(content), errors="replace")


def _encoding(content: bytes) -> str:
    return "utf-16" if content.startswith(UTF16) else "utf-8-sig"


def read_object(path: Path) -> dict[str, object]:
    """The object of a JSON file, in any encoding that JSON allows, with or without a byte order mark.

    Raises:
        RejectedError: It is missing, cut short, no object, or states a key twice.
    """
    try:
        # Of two equal keys JSON's reader would take the second without a word.
        stated = json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except RejectedError as error:
        raise RejectedError(f"{path.name}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RejectedError(f"{path.name} is missing, cut short or no JSON; a whole JSON object is needed") from error
    if not isinstance(stated, dict):
        raise RejectedError(f"{path.name} holds a {type(stated).__name__}; a JSON object is needed")
    return stated


def number(word: str) -> float:
    """A number as files write it (nan and inf are numbers). ValueError for anything else, also what only Python would read."""
    # Python's float() reads 1_000 and digits of other scripts, too.
    if "_" in word or not word.isascii():
        raise ValueError(f"{shown(word)} is no number")
    return float(word)


def whole(word: str) -> int:
    """A whole number, which may be written as 96, +96, 96.0 or 9.6e1. ValueError for anything else."""
    value = number(word)
    if not value.is_integer():
        raise ValueError(f"{shown(word)} is no whole number")
    # Digits alone keep their full length, which a float would not.
    return int(word) if word.lstrip("+-").isdecimal() else int(value)


def read_numbers(path: Path, rows: int, columns: int) -> Float[Tensor, "rows columns"]:
    """A text file of numbers (nan and inf are numbers), float64.

    Raises:
        RejectedError: Missing, or something else.
    """
    try:
        lines = [[number(word) for word in line.split()] for line in read_text(path).splitlines() if line.strip()]
    except ValueError as error:
        raise RejectedError(f"{path.name} is missing or no text of numbers") from error
    if len(lines) != rows or any(len(line) != columns for line in lines):
        raise RejectedError(f"{path.name} has {len(lines)} lines; {rows} lines of {columns} numbers are needed")
    return torch.tensor(lines, dtype=torch.float64)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise RejectedError(f"the key {shown(key)} stands twice in one object; once is allowed")
        found[key] = value
    return found
