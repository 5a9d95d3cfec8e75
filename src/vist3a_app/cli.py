"""``kedro run`` of this project: what a user did wrong ends in its sentence, what a programmer did wrong in a traceback."""

from __future__ import annotations

import errno
import os
from copy import copy
from functools import wraps
from opcode import opmap
from types import TracebackType
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError

from vist3a_app.commands.doctor import doctor
from vist3a_app.commands.runs import generate, layers, rehearse, stitch
from vist3a_app.commands.scenes import export, reconstruct, serve, view

TRACEBACK = "VIST3A_TRACEBACK"
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


def _spoken(command: click.Command) -> click.Command:
    """The command, whose users' mistakes end in one sentence and exit status 1."""
    call = command.callback
    assert call is not None

    @wraps(call)
    def callback(*arguments: Any, **options: Any) -> Any:
        # Kedro's older word for one pipeline, which it warns about at length.
        if options.get("pipeline") and not options.get("pipelines"):
            options |= {"pipeline": None, "pipelines": [options["pipeline"]]}
        try:
            return call(*arguments, **options)
        except Exception as error:
            told = sentence(error)
            if told is None or os.environ.get(TRACEBACK, "0") not in {"", "0"}:
                raise
            raise click.ClickException(told) from error

    spoken = copy(command)
    spoken.callback = callback
    spoken.epilog = f"{TRACEBACK}=1 in the environment: where in the program a refusal comes from."
    return spoken


run = _spoken(kedro_run)


@click.group(name="vist3a")
def cli() -> None:
    """Commands of this project; Kedro looks for this name."""


cli.add_command(run)


@click.group(name="vist3a", epilog="Options before any command are those of `kedro run`: vist3a --pipelines=score.")
def program() -> None:
    """Text to 3D by stitching a 3D network to a video generator."""


for _command in (generate, reconstruct, layers, stitch, rehearse, export, view, serve, doctor):
    program.add_command(_spoken(_command))
program.add_command(run)
