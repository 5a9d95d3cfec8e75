"""Where an unfinished training keeps its state: a folder named by everything that determines the result.

A killed run that is started again with the same inputs finds its checkpoint; one with other parameters, clips or
weights does not.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path


def run_folder(root: Path, stage: str, *inputs: str | Path) -> Path:
    """``root/stage-<fingerprint>``; files and folders among the inputs count by their content."""
    digest = hashlib.blake2b(digest_size=8)
    for item in inputs:
        if isinstance(item, Path):
            _add_content(digest, item)
        else:
            digest.update(item.encode())
        # The end of an item: its text cannot pass for the start of the next.
        digest.update(b"\0")
    return root / f"{stage}-{digest.hexdigest()}"


def content_digest(item: Path) -> str:
    """Digest of a file, or of the names and contents of all files in a folder.

    Example:
        >>> content_digest(Path("scenes/a-red-ball-0")) == content_digest(Path("copy/a-red-ball-0"))
        True
    """
    digest = hashlib.blake2b(digest_size=8)
    _add_content(digest, item)
    return digest.hexdigest()


def listing(folder: Path) -> str:
    """Names, sizes and times of all files below a folder, links followed: differs where something was changed there.

    Cheaper than :func:`content_digest` for what may be terabytes. Nothing for a folder that is not there.
    """
    lines, seen = [], set[str]()
    for place, folders, files in os.walk(folder, followlinks=True):
        # A link back to a folder above would go round for ever.
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            with suppress(OSError):  # a link to nothing
                found = path.stat()
                lines.append(f"{path.relative_to(folder)} {found.st_size} {found.st_mtime_ns}")
    return "\n".join(lines)


def _add_content(digest: hashlib.blake2b, item: Path) -> None:
    for file in [item] if item.is_file() else sorted(p for p in item.rglob("*") if p.is_file()):
        digest.update(file.relative_to(item).as_posix().encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
