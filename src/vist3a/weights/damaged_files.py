"""Which file of a folder of weights is damaged, found without loading any."""

from __future__ import annotations

import json
from pathlib import Path

POINTER = b"version https://git-lfs"
INDEX = ".safetensors.index.json"
SAFETENSORS = ".safetensors"


def damage(folder: Path) -> str | None:
    """The first damaged or missing file among the JSON and safetensors files of ``folder``, and what it is; None: all whole."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix in {".json", SAFETENSORS} and (found := file_damage(path)) is not None:
            return found
        if path.name.endswith(INDEX) and (found := _index_damage(path)) is not None:
            return found
    return None


def file_damage(path: Path) -> str | None:
    """What is wrong with one JSON or safetensors file; None: it is whole, as far as its outline shows."""
    if not path.is_file():
        return f"{path} is a link to nothing"
    with path.open("rb") as file:
        head = file.read(len(POINTER))
    if head == POINTER:
        return f"{path} is a git-lfs pointer, not the file itself (`git lfs pull` fetches it)"
    return _safetensors_damage(path) if path.suffix == SAFETENSORS else _json_damage(path)


def _json_damage(path: Path) -> str | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return f"{path} is no JSON ({error})"
    # Of all JSON files only a configuration has to be an object.
    return None if isinstance(found, dict) or path.name != "config.json" else f"{path} holds no JSON object"


def _index_damage(path: Path) -> str | None:
    """What is wrong with an index, which is JSON, or with the files that it names."""
    index = json.loads(path.read_text(encoding="utf-8"))
    named = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        return f"{path} does not say which files hold the tensors; allowed: names of files by tensor, as weight_map"
    if missing := sorted({name for name in named.values() if not (path.parent / name).is_file()}):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return f"{path.parent / missing[0]} is missing{more}: {path.name} names it"
    return None


def _safetensors_damage(path: Path) -> str | None:
    """Its header says how long it is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        # The format of safetensors: eight bytes of length, a JSON header, the tensors.
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            return f"{path} is cut short, or no safetensors file ({size} bytes)"
        try:
            header = json.loads(file.read(length))
            # Offsets count from the end of the header; the largest one says where the file should end.
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        except (ValueError, TypeError, LookupError, AttributeError):
            return f"{path} is no safetensors file (its header cannot be read)"
    whole = 8 + length + int(end)
    return None if size == whole else f"{path} has {size} bytes and should have {whole}: it is cut short or damaged"
