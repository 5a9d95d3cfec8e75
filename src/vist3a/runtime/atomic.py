"""Files and folders appear whole or not at all; what a killed run left unfinished goes."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil

# In the folder .NAME.PROCESS-CALL.part something is being written; .NAME.PROCESS-CALL.old is a folder that is being replaced.
_LEFT = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)(-\d+)?\.(?P<kind>part|old)")
_FULL = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "a limit on file sizes is hit",
}
# How libraries that raise errors of their own pass on what the system said, and how PyTorch does not.
_SAID = re.compile(r"os error (\d+)|errno[ =:]+(\d+)", re.IGNORECASE)
_UNSAID = "inline_container"
_calls = count()


class DiskFullError(OSError):
    """What should have been written does not fit."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file of the same name in a temporary folder beside ``path``, renamed to it on success and removed on failure.

    Missing folders are created. The rename is atomic, so a reader or a killed run never sees half a file. In a folder of its own,
    because libraries put temporary files of theirs beside what they write. The folder's name is that of this very call: threads
    and processes may write one file at the same time, and the last one stays, whole.

    Raises:
        DiskFullError: It does not fit; the sentence says what and where.
    """
    temporary = _temporary(path, "part")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        yield temporary / path.name
        os.replace(temporary / path.name, path)
    except Exception as error:
        _say_if_full(path, error)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty temporary folder beside ``path``, which takes its place on success and is removed on failure.

    The old folder stays until the new one is whole. Files in it are written by :func:`replacing` or in any other way.

    Raises:
        DiskFullError: It does not fit; the sentence says what and where.
    """
    temporary, old = _temporary(path, "part"), _temporary(path, "old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        # os.replace does not take a full folder for its target: for an instant there is none, which _restore mends.
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except Exception as error:
        _say_if_full(path, error)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _restore(old, path)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that are gone left unfinished below ``folder``; a folder that was just being replaced comes back."""
    for place, folders, _ in os.walk(folder):
        for name in list(folders):
            found = _LEFT.fullmatch(name)
            if found is None:
                continue
            # os.walk then does not look into it.
            folders.remove(name)
            if psutil.pid_exists(int(found["process"])):
                continue
            if found["kind"] == "old":
                _restore(Path(place, name), Path(place, found["name"]))
            else:
                shutil.rmtree(Path(place, name), ignore_errors=True)


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{next(_calls)}.{kind}")


def _restore(old: Path, path: Path) -> None:
    """Between the two renames of a folder its place is empty: then the old one goes back, else it goes."""
    if old.is_dir() and not path.exists():
        os.replace(old, path)
    else:
        shutil.rmtree(old, ignore_errors=True)


def _say_if_full(path: Path, error: BaseException) -> None:
    if isinstance(error, DiskFullError):
        return
    number = _errno(error)
    if number in _FULL:
        raise DiskFullError(
            f"{path} cannot be written: {_FULL[number]} in {path.parent} ({_free(path.parent)})"
        ) from error
    if number is None and _UNSAID in str(error):
        raise DiskFullError(f"{path} could not be written whole: in {path.parent} {_free(path.parent)}") from error


def _errno(error: BaseException) -> int | None:
    """Number of the system's error behind an exception, if it says one."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    said = _SAID.search(str(error))
    return int(said[1] or said[2]) if said else None


def _free(folder: Path) -> str:
    """What is free on the disk of a folder, which may be missing yet, in words."""
    try:
        while not folder.exists():
            folder = folder.parent
        return f"{shutil.disk_usage(folder).free / 2**20:.0f} MiB are free"
    except OSError:
        # A share that has gone, say: whoever asks has an error to report that matters more.
        return "how much is free is unknown"
