"""Errors as people read them: what a user did wrong is one sentence, what a programmer did wrong is none."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from vist3a.runtime.error_origin import origin_of

SPEAKERS = ("vist3a", "vist3a_app", "vist3a_lab", "kedro", "omegaconf")
"""Packages whose errors are written for those who run the program: wherever they raise one, it says what is wrong."""
PROGRAMMING = (AssertionError, AttributeError, LookupError, NotImplementedError, TypeError)
MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
"""What the operating system refuses whatever the program does: no space, no right to write."""
# Lines of Kedro's report on parameters, and the begin of what it says of a dataset.
PARAMETER = re.compile(r"- Parameter '(?P<group>[^']+)': (?P<rest>.*)")
VALUE = re.compile(r"  (?P<message>\S.*) \[type=\w+, input_value=(?P<value>.*), input_type=(?P<kind>\w+)\]$")
LOADING = re.compile(r"(?P<dataset>\w+): Failed while loading data")


def sentence(error: BaseException) -> str | None:
    """What a user is told of an error that is not a fault of the program; None for one that is, or may be."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        parts = [f"{'.'.join(map(str, part['loc']))}: {_said(part['msg'])}" for part in error.errors(include_url=False)]
        return f"{error.title}: {'; '.join(parts)}"
    if isinstance(error, ParameterValidationError):
        return "; ".join(_parameters(str(error))) or _line(error)
    if isinstance(error, OSError) and error.errno in MACHINE:
        return str(error)
    if isinstance(error, DatasetError) and (cause := error.__cause__) is not None:
        # A missing file of the catalog is a stage that was not run.
        root: BaseException = cause
        while isinstance(root, DatasetError) and root.__cause__ is not None:
            root = root.__cause__  # the catalog wraps what a dataset has wrapped
        if isinstance(root, FileNotFoundError) and (made := _not_made(str(error), root)) is not None:
            return made
        return _line(error) if isinstance(cause, OSError) or sentence(cause) is not None else None
    if isinstance(error, PROGRAMMING) or not _raised_by_us(error):
        return None
    return _line(error)


def _line(error: BaseException) -> str:
    """The text in one line, without the address that pydantic adds."""
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line and not line.startswith("For further information visit"))


def _raised_by_us(error: BaseException) -> bool:
    """Whether it began at a ``raise`` of one of the speakers: a failing call into C or another package is none."""
    origin = origin_of(error)
    return origin is not None and origin.raised and origin.package in SPEAKERS


def _said(message: str) -> str:
    """What pydantic says of a value, without the word that it puts before sentences of ours."""
    return message.removeprefix("Value error, ")


def _parameters(text: str) -> Iterator[str]:
    """Kedro's report on typed parameters, a line each: where, what is allowed, what was found.

    Kedro keeps the text alone of what pydantic says of a group, so it is read from there.
    """
    group = where = ""
    for line in text.splitlines():
        begin, told = PARAMETER.match(line), VALUE.match(line)
        if begin is not None:
            group = where = begin["group"]
            if "Failed to instantiate" not in begin["rest"]:
                yield f"{group}: {begin['rest']}"
        elif told is not None:
            found = f" (it is {told['value']})" if told["kind"] in {"int", "float", "str", "bool"} else ""
            yield f"{where}: {_said(told['message'])}{found}"
            where = group  # a message without a place of its own is of the whole group
        elif line and not line.startswith(" "):
            where = f"{group}.{line}"


def _not_made(text: str, missing: FileNotFoundError) -> str | None:
    """Of a file of the catalog that is not there: which pipeline makes it; None where that is not known."""
    from kedro.framework.project import PACKAGE_NAME, pipelines

    named = LOADING.match(text)
    if named is None or PACKAGE_NAME is None:
        return None
    makers = [name for name, pipeline in pipelines.items() if named["dataset"] in pipeline.all_outputs()]
    if not makers:
        return None
    # Of all that make it, sums like `stitch` too, the smallest.
    maker = min(makers, key=lambda name: len(pipelines[name].nodes))
    place = Path(missing.filename or str(missing))  # of pyarrow the text alone
    shown = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
    return f"{shown} is missing; `kedro run --pipelines={maker}` makes it"
