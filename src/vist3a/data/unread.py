"""Files of a source that are neither pictures nor videos that can be read: named, so that none vanishes without a word."""

from __future__ import annotations

import codecs
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from vist3a.data.rejected import RejectedError

HEAD = 4096
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Control characters that no text holds."""
MANY_LETTERS = 0.3
"""Share of letters beyond ASCII in a text of another encoding than UTF-8."""
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Unread:
    """Files of one ending in one folder, as a candidate that gives no frames but the reason."""

    files: tuple[Path, ...]

    def frames(self) -> Iterator[UInt8[Tensor, "3 rows columns"]]:
        """None.

        Raises:
            RejectedError: Always.
        """
        raise RejectedError(self.reason())
        # Never reached: it makes this a generator, which raises when it is read, as those of readers do.
        yield

    def pixel_aspect(self) -> float:
        """Asked before the frames are."""
        return 1.0

    def reason(self) -> str:
        """What these files are not."""
        ending = self.files[0].suffix
        also = f" (nor {len(self.files) - 1} more here)" if len(self.files) > 1 else ""
        called = f'with the ending "{ending}" ' if ending else "without an ending "
        return f"a file {called}is no picture and no video that can be read{also}; Pillow and FFmpeg read most others"


def is_of_interest(path: Path) -> bool:
    """Whether a file that cannot be read should be named: it has an ending of pictures or videos, or is no text.

    Texts (captions, tables, settings) accompany clips and are nobody's picture. Links to nothing, and pipes, are named too.
    """
    # By the built-in table alone: those of systems differ.
    kind = mimetypes.MimeTypes(filenames=()).guess_type(path.name)[0] or ""
    if kind.startswith(("image/", "video/")) or not path.is_file():  # pipes would wait for a writer
        return True
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return True
    return not _is_text(head)


def _is_text(head: bytes) -> bool:
    """UTF-8, UTF-16 with its mark, or few letters beyond ASCII in an older encoding."""
    if head.startswith(MARKS):
        return True
    if BINARY.search(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # which may be cut within a letter
    except UnicodeDecodeError:
        return sum(byte > 127 for byte in head) < MANY_LETTERS * len(head)
    return True
