"""Errors as people read them: what a user did wrong is one sentence, what a programmer did wrong is none."""

from __future__ import annotations

import errno
from opcode import opmap
from types import TracebackType

from kedro.io import DatasetError

SPEAKERS = ("vist3a", "vist3a_app", "vist3a_lab", "kedro", "omegaconf")
"""Packages whose errors are written for those who run the program: wherever they raise one, it says what is wrong."""
PROGRAMMING = (AssertionError, AttributeError, LookupError, NotImplementedError, TypeError)
MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
"""What the operating system refuses whatever the program does: no space, no right to write."""


def sentence(error: BaseException) -> str | None:
    """What a user is told of an error that is not a fault of the program; None for one that is, or may be."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        parts = [f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors(include_url=False)]
        return f"{error.title}: {'; '.join(parts)}"
    if isinstance(error, OSError) and error.errno in MACHINE:
        return str(error)
    if isinstance(error, DatasetError) and (cause := error.__cause__) is not None:
        # A missing file of the catalog is a stage that was not run.
        return _line(error) if isinstance(cause, OSError) or sentence(cause) is not None else None
    if isinstance(error, PROGRAMMING) or not _said(error.__traceback__):
        return None
    return _line(error)


def _line(error: BaseException) -> str:
    """The text in one line, without the address that pydantic adds."""
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line and not line.startswith("For further information visit"))


def _said(traceback: TracebackType | None) -> bool:
    """Whether the error began at a ``raise`` of one of the speakers: a failing call into C or another package is none."""
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package in SPEAKERS and frame.f_code.co_code[traceback.tb_lasti] == opmap["RAISE_VARARGS"]
