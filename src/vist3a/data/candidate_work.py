"""What a worker of curation does: read and check one candidate after the other."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from vist3a.data.checks import Limits
from vist3a.data.formats.posed import PosedScene
from vist3a.data.reading import CheckedClip, Order, read_clip
from vist3a.data.rejected import RejectedError
from vist3a.data.sources import Source
from vist3a.records.clip_shape import ClipShape
from vist3a.records.frame_count import AllowedFrames
from vist3a.runtime.workers.work import Done, Work

logger = logging.getLogger(__name__)

MAX_REASON = 200
"""Characters of an unforeseen error that stand in the report."""


@dataclass(frozen=True)
class Read:
    """What comes of a candidate.

    Attributes:
        checked: Its views, where it passes.
        reason: Why it does not.
        dropped: Why some of its views are left out, whether it passes or not.
        pixels: Hash of the views; empty where there are none.
    """

    checked: CheckedClip | None = None
    reason: str | None = None
    dropped: tuple[str, ...] = ()
    pixels: str = ""


def reading(shape: ClipShape, limits: Limits, order: Order, allowed: AllowedFrames) -> Work[Source, Read]:
    """The work on candidates; see :func:`vist3a.data.reading.read_clip`."""

    def work(candidate: Source, done: Done) -> Read:
        dropped: tuple[str, ...] = ()
        try:
            dropped = candidate.reader.content.dropped if isinstance(candidate.reader, PosedScene) else ()
            checked = read_clip(candidate, shape.frames, shape.height, shape.width, limits, order, allowed)
        # Whatever a reader meets costs one candidate: the sentence is poorer where nobody foresaw it.
        except Exception as error:
            return Read(reason=_sentence(error), dropped=dropped)
        return Read(checked, None, dropped, hashlib.sha256(checked.frames.numpy().tobytes()).hexdigest())

    return work


def _sentence(error: Exception) -> str:
    if isinstance(error, RejectedError):
        return str(error)
    logger.debug("unforeseen", exc_info=error)
    found = " ".join(str(error).split())[:MAX_REASON]
    return f"it cannot be read ({type(error).__name__}: {found}); a whole clip is needed"
