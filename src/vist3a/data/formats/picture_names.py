"""From the names that camera files give to the pictures on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath

from vist3a.data.formats.text import shown
from vist3a.data.image_folder import image_paths
from vist3a.data.picture import picture_endings
from vist3a.data.rejected import RejectedError

REDUCED = ("images_2", "images_4", "images_8")
"""Folders of smaller pictures that some data sets ship instead of the full-size ones that the file names."""
COMMON = (".png", ".jpg", ".jpeg", ".webp")
"""Tried first for names without an ending; the Blender layout, which leaves it out, has PNG."""


def inside(folder: Path, name: str) -> Path:
    """Absolute path of what a camera file calls ``name``, with the slashes of either system.

    Only the name is judged: what it names may be a link to anywhere, as in the caches of hubs.

    Raises:
        RejectedError: The name leaves the folder.
    """
    base = Path(os.path.normpath(folder.absolute()))
    # On Unix a name may hold a backslash: it separates folders only where there is no such file.
    if "\\" in name and not is_file(base / name):
        name = name.replace("\\", "/")
    path = Path(os.path.normpath(base / name))
    # A drive letter would take the place of the whole base on Windows.
    if PureWindowsPath(name).drive or path == base or not path.is_relative_to(base):
        raise RejectedError("the path leaves the folder of the scene; a name inside it is needed")
    return path


def find_picture(folder: Path, name: str, reduced: Path | None = None) -> Path:
    """The picture that a camera file calls ``name``: as it is, with an ending added, or in a folder of smaller pictures.

    ``reduced`` is where folders of smaller pictures lie (``folder`` by default). Where there is none, the path that was asked
    for comes back, so that its reader can say that it is missing.

    Raises:
        RejectedError: The name leaves the folder.
    """
    path = inside(folder, name)
    # Smaller pictures may be of another file format than the full ones.
    endings = (*COMMON, *sorted(picture_endings().difference(COMMON)))
    names = [path.name, path.stem] if path.suffix.lower() in endings else [path.name]
    smaller = [(reduced or folder).absolute() / place / name for name in names for place in REDUCED]
    for candidate in (path, *smaller):
        if is_file(candidate):
            return candidate
        for ending in endings:
            for spelled in (ending, ending.upper()):
                if is_file(with_ending := candidate.with_name(candidate.name + spelled)):
                    return with_ending
    return path


def is_file(path: Path) -> bool:
    """Whether there is such a file; False also for names that no file can have."""
    try:
        return path.is_file()
    except OSError:  # too long a name
        return False


def without_camera(listed: Iterable[Path], cameras: str, dropped: Sequence[str]) -> tuple[str, ...]:
    """A sentence where the folders of ``listed`` pictures hold more that belong to no view of ``cameras``.

    As many as entries were ``dropped`` already have their sentence: their names may be what could not be read.
    """
    named = set(listed)
    folders = sorted({path.parent for path in named if is_file(path)})
    beside = [path for folder in folders for path in image_paths(folder) if path not in named]
    if len(beside) <= len(dropped):
        return ()
    what = "1 picture has" if len(beside) == 1 else f"{len(beside)} pictures have"
    return (f"{what} no camera in {cameras} (first {shown(f'{beside[0].parent.name}/{beside[0].name}')})",)
