"""What an unfinished curation keeps: the file of every clip that passed, and beside it its row of the index.

A run that is started again takes up what is there. What was refused is not kept: the reason may be gone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vist3a.data.clip_store import clip_path, write_clip
from vist3a.data.reading import Provenance
from vist3a.records.clip import Clip
from vist3a.runtime.atomic import replacing


@dataclass(frozen=True)
class KeptClip:
    """A clip that passed.

    Attributes:
        row: Of the index, without the split.
        pixels: Hash of the views as they were read; empty where nobody asks whether there are equal ones.
        dropped: Why some views of its candidate are left out.
    """

    row: dict[str, Any]
    pixels: str = ""
    dropped: tuple[str, ...] = ()


def keep_clip(
    folder: Path, clip: Clip, provenance: Provenance, pixels: str = "", dropped: tuple[str, ...] = ()
) -> KeptClip:
    """Write a clip and, last, what is known of it: with that it is there."""
    path = write_clip(folder, clip)
    views, _, height, width = clip.frames.shape
    row = {"name": clip.name, "caption": clip.caption, "frames": views, "height": height, "width": width}
    kept = KeptClip({**row, **asdict(provenance), "sha256": _sha256(path)}, pixels, dropped)
    with replacing(_note(folder, clip.name)) as partial:
        partial.write_text(json.dumps(asdict(kept)))
    return kept


def kept_clip(folder: Path, name: str) -> KeptClip | None:
    """What was kept of a clip; None where it is not there, or its file is not the one that was written."""
    note = _note(folder, name)
    if not note.is_file():
        return None
    found = json.loads(note.read_text())
    path = clip_path(folder, name)
    if not path.is_file() or _sha256(path) != found["row"]["sha256"]:
        return None
    return KeptClip(found["row"], found["pixels"], tuple(found["dropped"]))


def _note(folder: Path, name: str) -> Path:
    return clip_path(folder, name).with_suffix(".json")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
