"""What a folder of results says of itself: one small JSON file with a format number and the version that wrote it.

Readers of the three artefacts (stitched decoder, adapter of alignment, bundle of a generator) share the rules: a file of a newer
format is refused in one sentence, and a folder without the file was made by a version that wrote none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vist3a.runtime.atomic import replacing

BLOCK = 2**20
"""Bytes that are read at once."""


def write_artifact(file: Path, values: Mapping[str, Any]) -> None:
    """Write ``values``, whole or not at all.

    Example:
        >>> write_artifact(Path("decoder.json"), {"format": 1, "version": code_version(), "point": "encoder.00"})
    """
    with replacing(file) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n")


def read_artifact(file: Path, form: int) -> dict[str, Any] | None:
    """What ``file`` says; None where there is none.

    Raises:
        ValueError: The file is no JSON object, or of another format than ``form``.
    """
    if not file.is_file():
        return None
    try:
        values: Any = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is not JSON: {error}; allowed: the file as it was written") from error
    found = values.get("format") if isinstance(values, dict) else None
    if found != form:
        raise ValueError(f"{file}: format {found!r}; allowed: {form} (a newer version made it: update vist3a)")
    return dict(values)


def weights_fingerprint(folder: Path) -> str:
    """SHA-256 over names and content of the safetensors files in ``folder``: equal where tensors and their metadata are equal.

    JSON files do not count, as they also say where networks lay and which version wrote them.

    Raises:
        ValueError: A file is damaged.
    """
    named = (f"{file.name} {_content(file)}" for file in sorted(folder.glob("*.safetensors")))
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _content(file: Path) -> str:
    """Hash of a safetensors file with its header in order: the library writes metadata in another one each time."""
    with file.open("rb") as read:
        # The format of safetensors: eight bytes of length, a JSON header, the tensors.
        length = int.from_bytes(read.read(8), "little")
        try:
            # A damaged length must not ask for more bytes than there are.
            header = json.loads(read.read(min(length, file.stat().st_size)))
        except ValueError as error:
            raise ValueError(f"{file} is no whole safetensors file; allowed: the file as it was written") from error
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        while block := read.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def code_version() -> str:
    """The installed version of vist3a."""
    try:
        return version("vist3a")
    except PackageNotFoundError:  # a source tree that nobody installed
        return "unknown"
