"""What a folder offers: every video file, and every folder that holds images, is one candidate clip."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from vist3a.scenes import image_folder, video
from vist3a.scenes.image_folder import ImageFolder, image_paths
from vist3a.scenes.rejected import RejectedError
from vist3a.scenes.video import VideoFile

MAX_NAME = 80
MAX_CAPTION = 4000


@runtime_checkable
class FrameReader(Protocol):
    """Frames that can be streamed more than once."""

    def frames(self) -> Iterator[Tensor]:
        """Upright RGB frames, uint8 [3, rows, columns]."""

    def pixel_aspect(self) -> float:
        """Width of a pixel over its height."""


@dataclass(frozen=True)
class Source:
    """A candidate clip. ``name`` is safe as a file name and unique in its scan, ``location`` is relative to the folder."""

    name: str
    location: str
    reader: FrameReader
    caption_file: Path

    def caption(self) -> str:
        """Text beside the frames with plain spacing; empty where there is none."""
        if not self.caption_file.is_file():
            return ""
        try:
            text = " ".join(self.caption_file.read_text(encoding="utf-8-sig").split())
        except UnicodeDecodeError as error:
            raise RejectedError(f"caption {self.caption_file.name} is not text in UTF-8") from error
        if len(text) > MAX_CAPTION:
            limit = f"at most {MAX_CAPTION} are allowed"
            raise RejectedError(f"caption {self.caption_file.name} has {len(text)} characters; {limit}")
        return text


def scan(folder: Path) -> list[Source]:
    """Candidates of a folder and everything below it, in the order of their paths (hidden files and folders skipped).

    Raises:
        ValueError: The folder is missing or offers nothing.
    """
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "nothing"
        raise ValueError(f"source folder {folder}: found {found}; a folder of videos and image folders is needed")
    found_paths: list[tuple[str, Path]] = []
    for path in [folder, *folder.rglob("*")]:
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts):
            continue
        is_video = path.suffix.lower() in video.SUFFIXES and path.is_file()
        if is_video or (path.is_dir() and image_paths(path)):
            found_paths.append((relative.as_posix(), path))
    if not found_paths:
        allowed = ", ".join(sorted(s[1:] for s in video.SUFFIXES)) + "; or folders of "
        allowed += ", ".join(sorted(s[1:] for s in image_folder.SUFFIXES))
        raise ValueError(f"source folder {folder}: found no video and no image; allowed are {allowed}")
    return _name(sorted(found_paths))


def safe_name(location: str) -> str:
    """``location`` without anything that could leave a folder or trouble a file system."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", location.replace("/", "-")).strip("._-")
    return name[:MAX_NAME].rstrip("._-") or "clip"


def _name(paths: list[tuple[str, Path]]) -> list[Source]:
    stems = [
        safe_name(
            (path.name if location == "." else location) if path.is_dir() else str(Path(location).with_suffix(""))
        )
        for location, path in paths
    ]
    # Equal names (also on file systems that ignore case) get a mark of their own path, so that none depends on the order.
    shared = Counter(stem.lower() for stem in stems)
    sources = []
    for stem, (location, path) in zip(stems, paths, strict=True):
        mark = "" if shared[stem.lower()] == 1 else "-" + hashlib.sha256(location.encode()).hexdigest()[:10]
        if path.is_dir():
            sources.append(Source(stem + mark, location, ImageFolder(path), path / "caption.txt"))
        else:
            sources.append(Source(stem + mark, location, VideoFile(path), path.with_suffix(".txt")))
    return sources
