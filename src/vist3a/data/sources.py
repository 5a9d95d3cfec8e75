"""What a folder offers: every scene of a known data set, every video file and every folder of images is one candidate clip."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from vist3a import registry
from vist3a.data.formats import colmap, nerfstudio, realestate10k, scannet, seven_scenes
from vist3a.data.formats.posed import PosedScene, PosedViews
from vist3a.data.formats.realestate10k import PosedVideo
from vist3a.data.image_folder import ImageFolder, image_paths
from vist3a.data.picture import picture_endings
from vist3a.data.reduced_copies import find_copies
from vist3a.data.rejected import RejectedError
from vist3a.data.unread import Unread, is_of_interest
from vist3a.data.video import VideoFile
from vist3a.data.video_container import holds_video, video_endings

logger = logging.getLogger(__name__)

MAX_NAME = 80
MAX_CAPTION = 4000
FORMATS = tuple((kind.is_scene, kind.load) for kind in (nerfstudio, scannet, seven_scenes, colmap))
"""How a folder of a data set is recognised, and read; the first that fits counts, and those of the registry come last."""


@runtime_checkable
class FrameReader(Protocol):
    """Frames that can be streamed more than once."""

    def frames(self) -> Iterator[Tensor]:
        """Upright RGB frames, uint8 [3, rows, columns]."""

    def pixel_aspect(self) -> float:
        """Width of a pixel over its height."""


@dataclass(frozen=True)
class Closed:
    """A folder that cannot be looked into; ``reason`` is the sentence that its frames end in."""

    reason: str

    def frames(self) -> Iterator[Tensor]:
        """RejectedError, always."""
        raise RejectedError(self.reason)

    def pixel_aspect(self) -> float:
        """Of no pixels."""
        return 1.0


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

    ``~`` is the home of the user. Folders that repeat the pictures of the one beside them (see ``reduced_copies``) are left out.
    Files that are no text, and that cannot be read, are candidates that give a sentence: one for each folder and ending.

    Raises:
        ValueError: The folder is missing or offers nothing.
    """
    folder = at_home(folder)
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "nothing"
        raise ValueError(f"source folder {folder}: found {found}; a folder of videos and image folders is needed")
    found_paths = sorted(_candidates(folder, folder, frozenset()), key=lambda found: found[:2])
    unread = [(location, reader) for location, _, reader in found_paths if isinstance(reader, Unread)]
    # Also true of an empty folder.
    if len(unread) == len(found_paths):
        allowed = "allowed are videos (mp4, mov, mkv, webm, avi and others that FFmpeg reads), folders of pictures "
        allowed += "(png, jpg, webp, tif and others that Pillow reads), and scenes with cameras"
        also = f" (but {'; '.join(f'{place}: {reader.reason()}' for place, reader in unread[:2])})" if unread else ""
        raise ValueError(f"source folder {folder}: found no video and no image{also}; {allowed}")
    return _name(found_paths)


def at_home(folder: Path) -> Path:
    """The folder with ``~`` as the home of the user; ValueError where there is no such user."""
    if folder.exists() or not folder.parts or not folder.parts[0].startswith("~"):
        return folder
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise ValueError(f"source folder {folder}: there is no such user; a folder is needed") from error


def _candidates(folder: Path, top: Path, above: frozenset[Path]) -> Iterator[tuple[str, Path, FrameReader]]:
    """Location, path and reader of what a folder offers; everything below a scene of a known format belongs to it.

    ``above`` are the folders on the way here: a link back to one of them is not followed.
    """
    location = folder.relative_to(top).as_posix()
    if folder.name == "blobs" and (folder.parent / "snapshots").is_dir():
        return  # a hub's cache: snapshots link to these by the names that count
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        load = next((load for recognised, load in _formats() if recognised(folder)), None)
        if load is not None:
            yield location, folder, PosedScene(folder, load)
            return
        # Footage of a text of cameras belongs to that scene, and is no candidate of its own.
        taken = set[Path]()
        for path in entries:
            if path.is_file() and realestate10k.is_camera_text(path):
                footage = realestate10k.footage(path)
                if footage is not None:
                    taken.add(footage)
                kind = PosedVideo if footage is not None and footage.is_file() else PosedScene
                yield path.relative_to(top).as_posix(), path, kind(path, realestate10k.load)
        if image_paths(folder):
            yield location, folder, ImageFolder(folder)
        above = above | {folder.resolve()}
        below = [path for path in entries if path not in taken and path.is_dir() and path.resolve() not in above]
        copies = find_copies(below)
    except OSError as error:
        yield location, folder, Closed(f"the folder cannot be read ({error.strerror}); one that may be read is needed")
        return
    for copy, original in copies.items():
        logger.info("%s: the pictures of %s once more, left out", copy.relative_to(top), original.name)
    for path in below:
        if path not in copies:
            yield from _candidates(path, top, above)
    files = [path for path in entries if path not in taken and not path.is_dir()]
    for path, reader in _lone_files(files):
        yield path.relative_to(top).as_posix(), path, reader


def _formats() -> Iterator[tuple[Callable[[Path], bool], Callable[[Path], PosedViews]]]:
    yield from FORMATS
    for name in registry.names("readers"):
        reader = registry.find("readers", name)
        if not (callable(getattr(reader, "is_scene", None)) and callable(getattr(reader, "load", None))):
            raise ValueError(f"readers: {name!r} cannot read; allowed: {registry.KINDS['readers']}")
        yield reader.is_scene, reader.load


def _lone_files(files: list[Path]) -> Iterator[tuple[Path, FrameReader]]:
    """Videos, and by their ending the files that are neither video nor picture nor text."""
    unread = dict[str, list[Path]]()
    for path in files:
        ending = path.suffix.lower()
        # Pictures count through their folder.
        if path.is_file() and ending in picture_endings():
            continue
        if path.is_file() and (ending in video_endings() or (is_of_interest(path) and holds_video(path))):
            yield path, VideoFile(path)
        elif is_of_interest(path):
            unread.setdefault(ending, []).append(path)
    for alike in unread.values():
        yield alike[0], Unread(tuple(alike))


def safe_name(location: str) -> str:
    """``location`` without anything that could leave a folder or trouble a file system."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", location.replace("/", "-")).strip("._-")
    return name[:MAX_NAME].rstrip("._-") or "clip"


def _name(paths: list[tuple[str, Path, FrameReader]]) -> list[Source]:
    # The source itself is the location "." and is called as its folder is.
    stems = [
        safe_name(
            (path.name if location == "." else location) if path.is_dir() else str(Path(location).with_suffix(""))
        )
        for location, path, _ in paths
    ]
    # Equal names (also on file systems that ignore case) get a mark of their own path, so that none depends on the order.
    shared = Counter(
        stem.lower() for stem, (*_, reader) in zip(stems, paths, strict=True) if not isinstance(reader, Unread)
    )
    sources = []
    for stem, (location, path, reader) in zip(stems, paths, strict=True):
        mark = "" if shared[stem.lower()] <= 1 else "-" + hashlib.sha256(location.encode()).hexdigest()[:10]
        # A text of cameras has the name that a caption would have: captions of such clips end in .caption.txt.
        ending = ".caption.txt" if isinstance(reader, PosedScene) else ".txt"
        caption = path / "caption.txt" if path.is_dir() else path.with_suffix(ending)
        sources.append(Source(stem + mark, location, reader, caption))
    return sources
