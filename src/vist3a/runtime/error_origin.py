"""Where an error began, also when it has come from another process, which leaves its traceback behind."""

from __future__ import annotations

from dataclasses import dataclass
from opcode import opmap

_SENT = "sent_origin"


@dataclass(frozen=True)
class Origin:
    """Where an error began.

    Attributes:
        package: Name of the outermost package of the code.
        raised: Whether it stands at a ``raise``; else a call into C or the like has failed.
    """

    package: str
    raised: bool


def origin_of(error: BaseException) -> Origin | None:
    """Of an error that was raised here, or that says it from elsewhere; None for one that was never raised.

    Example:
        >>> origin_of(ValueError("never raised")) is None
        True
    """
    sent = getattr(error, _SENT, None)
    if isinstance(sent, Origin):
        return sent
    traceback = error.__traceback__
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return Origin(package, frame.f_code.co_code[traceback.tb_lasti] == opmap["RAISE_VARARGS"])


def send_origin(error: BaseException) -> None:
    """Have an error say its origin wherever it is unpacked."""
    setattr(error, _SENT, origin_of(error))
