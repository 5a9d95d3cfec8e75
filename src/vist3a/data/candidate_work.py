"""What a worker of curation does: read, check and keep one candidate after the other."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from vist3a.data.checks import Limits
from vist3a.data.formats.posed import PosedScene
from vist3a.data.kept_clips import KeptClip, keep_clip
from vist3a.data.reading import CheckedClip, Order, read_clip
from vist3a.data.rejected import RejectedError
from vist3a.data.sources import Source
from vist3a.records.clip import Clip
from vist3a.records.clip_shape import ClipShape
from vist3a.records.frame_count import AllowedFrames
from vist3a.runtime.atomic import DiskFullError
from vist3a.runtime.workers.work import Done, Work

logger = logging.getLogger(__name__)

MAX_REASON = 200
"""Characters of an unforeseen error that stand in the report."""


@dataclass(frozen=True)
class Refused:
    """Why a candidate does not pass, and why some of its views are left out."""

    reason: str
    dropped: tuple[str, ...] = ()


def reading(
    target: Path, shape: ClipShape, limits: Limits, order: Order, allowed: AllowedFrames
) -> Work[Source, KeptClip | Refused]:
    """The work on candidates, whose clips go into ``target``; see :func:`vist3a.data.reading.read_clip`."""

    def work(candidate: Source, done: Done) -> KeptClip | Refused:
        dropped: tuple[str, ...] = ()
        try:
            dropped = candidate.reader.content.dropped if isinstance(candidate.reader, PosedScene) else ()
            checked = read_clip(candidate, shape.frames, shape.height, shape.width, limits, order, allowed)
            pixels = hashlib.sha256(checked.frames.numpy().tobytes()).hexdigest()
            return keep_clip(target, _clip(checked), checked.provenance, pixels, dropped)
        except DiskFullError:
            raise
        # Whatever a reader meets costs one candidate: the sentence is poorer where nobody foresaw it.
        except Exception as error:
            return Refused(_sentence(error), dropped)
        finally:
            done(1)

    return work


def _clip(checked: CheckedClip) -> Clip:
    frames = checked.frames.float() / 255
    return Clip(checked.name, frames, checked.caption, checked.cameras, checked.depth, checked.files)


def _sentence(error: Exception) -> str:
    if isinstance(error, RejectedError):
        return str(error)
    logger.debug("unforeseen", exc_info=error)
    found = " ".join(str(error).split())[:MAX_REASON]
    return f"it cannot be read ({type(error).__name__}: {found}); a whole clip is needed"
